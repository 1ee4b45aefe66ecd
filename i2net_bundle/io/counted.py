"""A number and its noun in a message."""

from __future__ import annotations


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Number and noun, in the singular or the plural.

    Args:
        number: how many.
        singular: noun for one.
        plural: noun for any other number; by default ``singular`` with an "s".

    >>> counted(1, "case"), counted(2, "case"), counted(1200, "mask")
    ('1 case', '2 cases', '1,200 masks')
    """
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"
