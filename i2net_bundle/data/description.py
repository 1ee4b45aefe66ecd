"""Stand-in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2net_bundle.data.datalist import label_names
from i2net_bundle.labels import classes_of
from i2net_bundle.labels import label_table as table_of


@dataclass(frozen=True)
class DataDescription:
    """Stand-in."""

    classes: Any
    channels: Any
    label_values: str | None = None
    ignore_id: int | None = None

    @property
    def class_names(self) -> list[str]:
        """Stand-in."""
        return [item.name for item in self.classes]


def describe_dataset(dataset_dir, datalist="dataset.json", table="synapse", channels=("CT",)):  # type: ignore[no-untyped-def]
    """Stand-in."""
    contents = {}
    if dataset_dir is not None and (Path(dataset_dir) / datalist).is_file():
        contents = json.loads((Path(dataset_dir) / datalist).read_text())
    names = label_names(contents)
    found = contents.get("channel_names") or contents.get("modality") or {}
    found = tuple(found.values()) if isinstance(found, dict) else ()
    names = [names[i] for i in sorted(names)] if names else table_of(table).names
    return DataDescription(classes_of(names, table), found or tuple(channels), contents.get("label_values"))
