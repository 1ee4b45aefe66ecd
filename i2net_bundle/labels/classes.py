"""Define a class of a segmentation: its name and properties."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from i2net_bundle.labels.names import legal_names, plain_name

DIRECTIONS = ("right", "left", "posterior", "superior")
_COLOR = re.compile("#[0-9A-F]{6}")
_SCT_CODE = re.compile("[1-9][0-9]{5,17}")


@dataclass(frozen=True)
class LabelClass:
    """One class; its index in a sequence of classes is its value in label maps.

    Attributes:
        name: as spelled in the data set or table.
        color: ``#RRGGBB``.
        synonyms: other spellings.
        volume_ml: smallest and largest plausible volume of the whole organ, in mL.
        snomed: SNOMED CT code and its meaning, for DICOM.
        laterality: SNOMED CT code of the side and its meaning, for paired organs.
        positions: position in every patient: pairs of a direction ("right", "left", "posterior" or "superior") and the
            name of another class; centres of mass are compared.
    """

    name: str
    color: str
    synonyms: tuple[str, ...] = ()
    volume_ml: tuple[float, float] | None = None
    snomed: tuple[str, str] | None = None
    laterality: tuple[str, str] | None = None
    positions: tuple[tuple[str, str], ...] = ()

    def is_called(self, name: str) -> bool:
        """Whether ``name`` is its name or a synonym; case and the separators space, - and _ do not matter."""
        return plain_name(name) in map(plain_name, (self.name, *self.synonyms))

    def as_json(self) -> dict[str, Any]:
        """Return the known properties as JSON; `label_class` reads them back."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _listed(value) for name, value in values.items() if value not in (None, (), "")}


def label_class(item: object) -> LabelClass:
    """Create a class from JSON and validate it; ``color`` is empty if none is given.

    Args:
        item: object with attributes of `LabelClass`, tuples as lists.

    Raises:
        ValueError: ``item`` contains anything else.
    """
    if not isinstance(item, Mapping):
        raise ValueError(f'a class must be an object such as {{"name": "liver"}}, found {item!r}')
    known = [field.name for field in fields(LabelClass)]
    for key in item:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            meant = f" (did you mean '{near[0]}'?)" if near else ""
            raise ValueError(f"a class has the unknown key '{key}'{meant}; known: {', '.join(known)}")
    if "name" not in item:
        raise ValueError(f"a class has no name: {dict(item)!r}")
    (name,) = legal_names([item["name"]])
    color = item.get("color", "")
    if color and not (isinstance(color, str) and _COLOR.fullmatch(color.upper())):
        raise ValueError(f"the color of '{name}' must be written #RRGGBB, found {color!r}")
    return LabelClass(
        name,
        color.upper() if color else "",
        _texts(item.get("synonyms", []), f"the synonyms of '{name}'"),
        _volume(item["volume_ml"], name) if "volume_ml" in item else None,
        _code(item["snomed"], f"the snomed of '{name}'") if "snomed" in item else None,
        _code(item["laterality"], f"the laterality of '{name}'") if "laterality" in item else None,
        _positions(item.get("positions", []), name),
    )


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _texts(value: object, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise ValueError(f"{what} must be a list of texts, found {value!r}")
    return tuple(value)


def _volume(value: object, name: str) -> tuple[float, float]:
    numbers = isinstance(value, list) and all(isinstance(x, int | float) and not isinstance(x, bool) for x in value)
    if not (numbers and isinstance(value, list) and len(value) == 2 and 0 <= value[0] < value[1] < float("inf")):
        raise ValueError(f"the volume_ml of '{name}' must be its smallest and largest volume, found {value!r}")
    return value[0], value[1]


def _code(value: object, what: str) -> tuple[str, str]:
    texts = _texts(value, what)
    if len(texts) != 2 or not _SCT_CODE.fullmatch(texts[0]) or len(texts[1]) > 64 or not texts[1].isprintable():
        raise ValueError(
            f"{what} must be a SNOMED CT code (digits) and its meaning (at most 64 characters), found {value}"
        )
    return texts[0], texts[1]


def _positions(value: object, name: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list):
        raise ValueError(f"the positions of '{name}' must be a list, found {value!r}")
    pairs = []
    for item in value:
        direction, *others = _texts(item, f"a position of '{name}'") or ("",)
        if direction not in DIRECTIONS or len(others) != 1:
            raise ValueError(
                f"a position of '{name}' must be a direction ({', '.join(DIRECTIONS)}) and a class, found {item}"
            )
        pairs.append((direction, others[0]))
    return tuple(pairs)
