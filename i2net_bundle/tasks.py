"""The kinds of task: stand-in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """Stand-in."""

    name: str
    volumes: bool
    overlays: tuple[str, ...]
    train_overlays: tuple[str, ...]
    metadata: str
    label_table: str
    channels: tuple[str, ...]


TASKS: dict[str, Task] = {
    "ct": Task("ct", True, (), (), "metadata.json", "synapse", ("CT",)),
    "mr": Task("mr", True, (), (), "metadata.json", "synapse", ("MR",)),
    "histology": Task(
        "histology",
        False,
        ("histology.yaml",),
        ("histology_train.yaml",),
        "metadata_histology.json",
        "glas",
        ("red", "green", "blue"),
    ),
}
