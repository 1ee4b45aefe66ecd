"""Read JSON objects field by field, with a strict schema: unknown fields, wrong types and wrong ranges are errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

LONGEST_TEXT = 200


class Fields:
    """Fields of a JSON object; call `done` after reading all of them.

    Args:
        content: the object.
        where: its place in the file, for messages.

    Raises:
        ValueError: ``content`` is not an object.
    """

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, Mapping):
            raise ValueError(f"{where or 'it'} is not an object")
        self.content, self.where, self.read = content, f"{where}: " if where else "", set[str]()

    def get(self, name: str, accept: Callable[[Any], bool], wanted: str, required: bool = False) -> Any:
        """Return a field; None if it is missing.

        Args:
            name: name of the field.
            accept: whether a value is valid.
            wanted: the valid values in words, for the message.
            required: whether the field must be there.

        Raises:
            ValueError: the value is not valid, or the field is required and missing.
        """
        self.read.add(name)
        value = self.content.get(name)
        if (value is None and required) or (value is not None and not accept(value)):
            raise ValueError(f"{self.where}{name} must be {wanted}, not {json.dumps(value)[:80]}")
        return value

    def done(self) -> None:
        """Refuse fields that were not read.

        Raises:
            ValueError: names the unknown fields.
        """
        unknown = self.content.keys() - self.read
        if unknown:
            raise ValueError(f"{self.where}unknown keys {', '.join(sorted(unknown))}")


def is_list(accept: Callable[[Any], bool], shortest: int, longest: int) -> Callable[[Any], bool]:
    """A check for lists of valid items with a length in this range."""
    return lambda value: isinstance(value, list) and shortest <= len(value) <= longest and all(map(accept, value))


def is_text(value: Any) -> bool:
    """Whether a value is printable text of at most `LONGEST_TEXT` characters."""
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and value.isprintable()


def is_name(value: Any) -> bool:
    """Whether a value is a name that no configuration would evaluate."""
    return is_text(value) and value.strip() == value != "" and "::" not in value and value[0] not in "$@%"


def is_integer(value: Any) -> bool:
    """Whether a value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_between(low: int, high: int) -> Callable[[Any], bool]:
    """A check for whole numbers in this range."""
    return lambda value: is_integer(value) and low <= value <= high
