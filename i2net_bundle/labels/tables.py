"""Label tables: classes with their properties, and the mapping of other numberings to them.

The built-in tables are the JSON files beside this module; a user's table is a file of the same form. Classes are listed
in the order of their ids. A source maps each of its ids to a name. A name that is not a class of the table must be
listed under ``dropped``; it becomes background, or the table's ``ignore_id``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from i2net_bundle.labels.classes import LabelClass, label_class
from i2net_bundle.labels.colors import BLACK, distinct_colors
from i2net_bundle.labels.names import legal_names, plain_name

_KEYS = ("name", "description", "classes", "dropped", "sources", "ignore_id")
_MOST_BYTES = 2**20


@dataclass(frozen=True)
class LabelTable:
    """Classes and the mapping of other numberings to them.

    Attributes:
        name: "synapse", "glas" or "cityscapes" for built-in tables; the declared name or the file name for others.
        description: one line.
        classes: in the order of their ids.
        dropped: names in other sources that this table deliberately omits.
        sources: numberings by name, each from ids to names.
        ignore_id: value that is excluded from losses and scores; dropped names become it.
    """

    name: str
    description: str
    classes: tuple[LabelClass, ...]
    dropped: tuple[str, ...]
    sources: Mapping[str, Mapping[int, str]]
    ignore_id: int | None = None

    @property
    def names(self) -> list[str]:
        """Class names in the order of their ids."""
        return [item.name for item in self.classes]

    def find(self, name: str) -> LabelClass | None:
        """Return the class with this name or synonym, or None; see `LabelClass.is_called`."""
        return next((item for item in self.classes if item.is_called(name)), None)

    def source_map(self, source: str | Mapping[int, str]) -> dict[int, int]:
        """Map the ids of a numbering to this table's ids; 0 stays 0 unless the numbering names it.

        Args:
            source: name under ``sources``, or a mapping from ids to names.

        Raises:
            ValueError: the numbering is not declared, or one of its names is neither a class nor dropped.
        """
        if isinstance(source, str):
            if source not in self.sources:
                raise ValueError(
                    f"Unknown numbering '{source}' of {self.name} labels; known: {', '.join(self.sources)}."
                )
            source = self.sources[source]
        dropped = set(map(plain_name, self.dropped))
        ids = {0: 0}
        for old, name in source.items():
            found = self.find(name)
            if found is None and plain_name(name) not in dropped:
                raise ValueError(
                    f"Label {old} '{name}' is not a class of {self.name} ({', '.join(self.names)}), and the table does "
                    "not drop it. Rename it in the source's dataset.json, or pass a numbering."
                )
            ids[old] = self.classes.index(found) if found else (self.ignore_id or 0)
        return ids


def label_table(table: str | Path) -> LabelTable:
    """Read a label table.

    Args:
        table: "synapse", "glas", "cityscapes", or the path of a JSON file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the table is unknown, or the file is not a label table; names the file and the fault.
    """
    if is_builtin(table):
        return _builtin(str(table))
    path, known = Path(table), ", ".join(builtin_names())
    if not path.is_file():
        if path.suffix or len(path.parts) > 1:
            raise FileNotFoundError(f"No label table {path}. Pass a JSON file, or one of: {known}.")
        raise ValueError(f"Unknown label table '{table}'; known: {known}. A user's table is a JSON file.")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"has more than {_MOST_BYTES} bytes")
        return _table(json.loads(path.read_text(encoding="utf-8-sig")), path.stem)
    except (ValueError, RecursionError) as fault:
        raise ValueError(f"{path} is not a label table: {fault}. docs/data.md describes the form.") from fault


def is_builtin(table: str | Path) -> bool:
    """Whether ``table`` is the name of a built-in table."""
    return str(table) in builtin_names()


@cache
def builtin_names() -> tuple[str, ...]:
    """Return the names of the built-in tables."""
    return tuple(sorted(item.name[:-5] for item in resources.files(__package__).iterdir() if item.name[-5:] == ".json"))


def class_names(table: str | Path) -> list[str]:
    """Return the class names of a table in the order of their ids."""
    return label_table(table).names


def classes_of(names: Sequence[str], table: str | Path | LabelTable | None = None) -> tuple[LabelClass, ...]:
    """Look up the properties of classes by their names.

    Args:
        names: in the order of the ids, background first.
        table: searched first: a built-in table, or a user's file. Missing properties come from the built-in tables.

    Returns:
        a class for each name, with its spelling and a unique colour. A class that no table lists has no other property.

    Raises:
        ValueError: a name is invalid or repeated, or the table is invalid.
    """
    names = legal_names(names)
    own = label_table(table) if isinstance(table, str | Path) else table
    builtin = [_builtin(name) for name in ("synapse", "glas", "cityscapes")]
    first = [None if own is None else own.find(name) for name in names]
    classes = [
        _merged(name, [item for item in (found, *(other.find(name) for other in builtin)) if item is not None])
        for name, found in zip(names, first, strict=True)
    ]
    if not classes[0].color and plain_name(names[0]) == "background":
        classes[0] = replace(classes[0], color=BLACK)
    colors = distinct_colors([item.color for item in classes], [bool(item and item.color) for item in first])
    return tuple(replace(item, color=color) for item, color in zip(classes, colors, strict=True))


def map_labels(labels: np.ndarray, ids: Mapping[int, int], path: str) -> np.ndarray:
    """Renumber a label map.

    Args:
        labels: whole numbers, any shape.
        ids: new value (0-255) of every value that may occur.
        path: file for the error.

    Returns:
        the renumbered map, same shape, uint8.

    Raises:
        ValueError: ``labels`` contains a value that ``ids`` does not declare; names the file.
    """
    values, positions = np.unique(labels, return_inverse=True)
    unknown = [int(value) for value in values if int(value) not in ids]
    if unknown:
        declared = ", ".join(map(str, sorted(ids)))
        raise ValueError(
            f"{path}: contains labels {', '.join(map(str, unknown))}, which the numbering does not declare (it "
            f"declares {declared}). Pass the numbering that this file uses."
        )
    table = np.array([ids[int(value)] for value in values], np.uint8)
    return table[positions].reshape(labels.shape)


@cache
def _builtin(name: str) -> LabelTable:
    return _table(json.loads(resources.files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8")), name)


def _merged(name: str, known: Sequence[LabelClass]) -> LabelClass:
    """Return a class of that name with the first known value of each property."""
    values: dict[str, Any] = {
        key: next((value for item in known if (value := getattr(item, key))), empty)
        for key, empty in (("color", ""), ("volume_ml", None), ("snomed", None), ("positions", ()))
    }
    spellings = {plain_name(other): other for item in known for other in (item.name, *item.synonyms)}
    spellings.pop(plain_name(name), None)
    coded = next((item for item in known if item.snomed), None)  # the side qualifies the code
    return LabelClass(
        name, synonyms=tuple(spellings.values()), laterality=coded.laterality if coded else None, **values
    )


def _table(content: object, name: str) -> LabelTable:
    if not isinstance(content, Mapping):
        raise ValueError('it must be an object with a list "classes"')
    unknown = [str(key) for key in content if key not in _KEYS]
    if unknown:
        raise ValueError(f"it has the unknown key '{unknown[0]}'; known: {', '.join(_KEYS)}")
    listed = content.get("classes")
    if not isinstance(listed, list) or not listed:
        raise ValueError('it needs a list "classes" of at least one class')
    classes = [label_class(item) for item in listed]
    legal_names(item.name for item in classes)
    _require_distinct_spellings(classes)
    _require_distinct_colors(classes)
    _require_known_neighbours(classes)
    return LabelTable(
        name=_text(content.get("name", name), "name"),
        description=_text(content.get("description", ""), "description"),
        classes=tuple(classes),
        dropped=tuple(_text(item, "dropped") for item in _list(content.get("dropped", []), "dropped")),
        sources=_sources(content.get("sources", {})),
        ignore_id=_ignore_id(content.get("ignore_id"), len(classes)),
    )


def _require_distinct_spellings(classes: Sequence[LabelClass]) -> None:
    spellings = [plain_name(spelling) for item in classes for spelling in (item.name, *item.synonyms)]
    twice = next((spelling for spelling in spellings if spellings.count(spelling) > 1), None)
    if twice:
        raise ValueError(f"the name '{twice}' is used twice")


def _require_distinct_colors(classes: Sequence[LabelClass]) -> None:
    colors = [item.color for item in classes if item.color]
    twice = next((color for color in colors if colors.count(color) > 1), None)
    if twice:
        raise ValueError(f"two classes have the color {twice}")


def _require_known_neighbours(classes: Sequence[LabelClass]) -> None:
    for item in classes:
        for _, other in item.positions:
            if item.is_called(other) or not any(known.is_called(other) for known in classes):
                raise ValueError(
                    f"a position of '{item.name}' names '{other}', which is not another class of the table"
                )


def _sources(content: object) -> dict[str, dict[int, str]]:
    if not isinstance(content, Mapping):
        raise ValueError('"sources" must be an object')
    sources: dict[str, dict[int, str]] = {}
    for name, source in content.items():
        ids = source.get("classes") if isinstance(source, Mapping) else None
        if not isinstance(ids, Mapping) or not all(str(key).isdecimal() for key in ids):
            raise ValueError(f"""the source '{name}' must have "classes": ids to names""")
        sources[str(name)] = {int(key): _text(value, f"source '{name}'") for key, value in ids.items()}
    return sources


def _ignore_id(value: object, num_classes: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not num_classes <= value <= 255:
        raise ValueError(f'"ignore_id" must be a whole number from {num_classes} to 255, found {value!r}')
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or (value and not value.isprintable()):
        raise ValueError(f'"{what}" must contain printable text, found {value!r}')
    return value


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f'"{what}" must be a list, found {value!r}')
    return value
