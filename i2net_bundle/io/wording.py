"""Numbers of things in messages."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number with its noun in the singular or plural.

    >>> counted(1, "case"), counted(2, "case"), counted(0, "image")
    ('1 case', '2 cases', '0 images')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
