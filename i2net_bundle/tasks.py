"""The kinds of task, each with its configuration files and defaults. A new kind is a new entry of `TASKS`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One kind of task.

    Attributes:
        name: as the command line and the configurations call it.
        volumes: whether it segments volumes; otherwise 2D images.
        overlays: configuration files that follow ``train.json``, ``evaluate.json`` and ``inference.json`` alike.
        train_overlays: configuration files that follow these in training alone.
        metadata: file of the bundle's metadata.
        label_table: built-in table of its classes, where neither a data set nor weights name them.
        channels: of its images, where neither a data set nor weights name them.
    """

    name: str
    volumes: bool
    overlays: tuple[str, ...]
    train_overlays: tuple[str, ...]
    metadata: str
    label_table: str
    channels: tuple[str, ...]


TASKS = {
    task.name: task
    for task in (
        Task("ct", True, (), (), "metadata.json", "synapse", ("CT",)),
        Task("mr", True, (), (), "metadata.json", "synapse", ("MR",)),
        Task(
            "histology",
            False,
            ("histology.yaml",),
            ("histology_train.yaml",),
            "metadata_histology.json",
            "glas",
            ("R", "G", "B"),
        ),
    )
}
"""Name of every kind of task to what it consists of."""


def task_of(name: str) -> Task:
    """The task of that name.

    Raises:
        ValueError: there is none; lists those that there are.
    """
    if name not in TASKS:
        raise ValueError(f"Unknown task '{name}'; known: {', '.join(TASKS)}.")
    return TASKS[name]
