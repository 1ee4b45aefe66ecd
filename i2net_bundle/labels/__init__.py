"""The one place of label tables: ids, names, order, colours, expected volumes and positions, maps from other sources.

The tables are the JSON files beside this module. A source's map gives the name of each of its ids; a name that is no
class of the table must be listed under ``dropped``, and then becomes background (or the table's ``ignore_id``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np


@dataclass(frozen=True)
class LabelClass:
    """One class of a table.

    Attributes:
        id: value in label maps.
        name: the field's term.
        color: ``#RRGGBB``, distinguishable by colour-blind readers where the table is this bundle's own.
        synonyms: other spellings, lower case.
        volume_ml: smallest and largest plausible volume of a whole organ, in mL.
        snomed: SNOMED CT code and its meaning, for DICOM.
        laterality: SNOMED CT code of the side and its meaning, where there are two.
    """

    id: int
    name: str
    color: str
    synonyms: tuple[str, ...] = ()
    volume_ml: tuple[float, float] | None = None
    snomed: tuple[str, str] | None = None
    laterality: tuple[str, str] | None = None


@dataclass(frozen=True)
class Position:
    """``name`` lies ``direction`` ("right", "left", "posterior" or "superior") of ``of``, by centres of mass."""

    name: str
    direction: str
    of: str


@dataclass(frozen=True)
class LabelTable:
    """A data set's classes and how other numberings map to them.

    Attributes:
        name: "synapse", "glas" or "cityscapes".
        description: in one line.
        classes: in the order of their ids.
        positions: where organs lie to each other in every patient.
        dropped: names that other sources hold and this table deliberately leaves out.
        sources: name of a numbering to its ids' names.
        ignore_id: value that counts in no loss or score, and what dropped names become.
    """

    name: str
    description: str
    classes: tuple[LabelClass, ...]
    positions: tuple[Position, ...]
    dropped: tuple[str, ...]
    sources: Mapping[str, Mapping[int, str]]
    ignore_id: int | None = None

    @property
    def names(self) -> list[str]:
        """Class names in the order of ids."""
        return [item.name for item in self.classes]

    def find(self, name: str) -> LabelClass | None:
        """The class of that name or synonym, whatever the case and whether words are joined by spaces, - or _."""
        plain = _plain(name)
        return next((item for item in self.classes if plain in (item.name, *item.synonyms)), None)

    def source_map(self, source: str | Mapping[int, str]) -> dict[int, int]:
        """Ids of a numbering to this table's ids; 0 stays 0 unless the numbering names it.

        Args:
            source: name under ``sources``, or the ids' names themselves.

        Raises:
            ValueError: the numbering is not declared, or one of its names is neither a class nor dropped.
        """
        if isinstance(source, str):
            if source not in self.sources:
                raise ValueError(
                    f"Unknown numbering '{source}' of {self.name} labels; known: {', '.join(self.sources)}."
                )
            source = self.sources[source]
        dropped = {_plain(name) for name in self.dropped}
        ids = {0: 0}
        for old, name in source.items():
            found = self.find(name)
            if found is None and _plain(name) not in dropped:
                raise ValueError(
                    f"Label {old} '{name}' is no class of {self.name} ({', '.join(self.names)}) and not known as one "
                    "to leave out. Rename it in the source's dataset.json, or name a numbering."
                )
            ids[old] = found.id if found else (self.ignore_id or 0)
        return ids


@cache
def label_table(name: str) -> LabelTable:
    """The table of that name.

    Raises:
        ValueError: there is none.
    """
    tables = sorted(item.name[:-5] for item in resources.files(__name__).iterdir() if item.name.endswith(".json"))
    if name not in tables:
        raise ValueError(f"Unknown label table '{name}'; known: {', '.join(tables)}.")
    content = json.loads(resources.files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8"))
    return LabelTable(
        name=content["name"],
        description=content["description"],
        classes=tuple(_label_class(item) for item in content["classes"]),
        positions=tuple(
            Position(item["class"], item["direction"], item["of"]) for item in content.get("positions", [])
        ),
        dropped=tuple(content.get("dropped", [])),
        sources={
            name: {int(key): value for key, value in source["classes"].items()}
            for name, source in content["sources"].items()
        },
        ignore_id=content.get("ignore_id"),
    )


def class_names(table: str) -> list[str]:
    """Class names of a table in the order of ids, for configurations."""
    return label_table(table).names


def map_labels(labels: np.ndarray, ids: Mapping[int, int], path: str) -> np.ndarray:
    """Renumber a label map.

    Args:
        labels: whole numbers, any shape.
        ids: every value that may occur, to its new value (0-255).
        path: for the error.

    Returns:
        the same shape, uint8.

    Raises:
        ValueError: a value occurs that ``ids`` does not declare; names the file.
    """
    values, positions = np.unique(labels, return_inverse=True)
    unknown = [int(value) for value in values if int(value) not in ids]
    if unknown:
        declared = ", ".join(map(str, sorted(ids)))
        raise ValueError(
            f"{path}: holds labels {', '.join(map(str, unknown))}, which the numbering does not declare (it has "
            f"{declared}). Name the numbering that this file follows."
        )
    table = np.array([ids[int(value)] for value in values], np.uint8)
    return table[positions].reshape(labels.shape)


def _label_class(item: Mapping[str, Any]) -> LabelClass:
    pairs: dict[str, Any] = {
        key: (item[key][0], item[key][1]) for key in ("volume_ml", "snomed", "laterality") if key in item
    }
    return LabelClass(item["id"], item["name"], item["color"], tuple(item["synonyms"]), **pairs)


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
