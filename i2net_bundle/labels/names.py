"""Validate and compare the names of classes."""

from __future__ import annotations

from collections.abc import Iterable

MAX_CLASSES = 256
"""Label maps are stored as uint8."""


def plain_name(name: str) -> str:
    """Normalise a name for comparison: lower case, words separated by single spaces instead of ``-`` or ``_``.

    >>> plain_name("Left_Kidney")
    'left kidney'
    """
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def legal_names(names: Iterable[object]) -> tuple[str, ...]:
    """Validate class names.

    Args:
        names: in the order of the ids 0, 1, ….

    Returns:
        the names without surrounding spaces.

    Raises:
        ValueError: there are none or more than 256, a name is not printable text, or two are the same.
    """
    legal: list[str] = []
    seen: dict[str, str] = {}
    for index, name in enumerate(names):
        if not isinstance(name, str):
            raise ValueError(f"the name of class {index} must be text, found {name!r}")
        if not name.strip() or not name.isprintable():
            raise ValueError(f"the name of class {index} is empty or contains control characters: {name!r}")
        plain = plain_name(name)
        if plain in seen:
            raise ValueError(f"two classes have the same name: '{seen[plain]}' and '{name}'")
        seen[plain] = name
        legal.append(name.strip())
    if not 1 <= len(legal) <= MAX_CLASSES:
        raise ValueError(f"there are {len(legal)} classes; 1 to {MAX_CLASSES} are allowed")
    return tuple(legal)
