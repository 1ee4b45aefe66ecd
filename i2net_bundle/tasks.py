"""The registry of task kinds, with their configuration files and defaults. To add a kind, add an entry to `TASKS`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One kind of task.

    Attributes:
        name: name on the command line and in configurations.
        volumes: whether it segments volumes rather than 2D images.
        overlays: overlays of all workflows, applied after ``train.json``, ``evaluate.json`` or ``inference.json``.
        train_overlays: further overlays of training.
        metadata: metadata file of the bundle.
        label_table: built-in table of the classes, used if neither the data set nor the weights name them.
        channels: channels of the images, used if neither the data set nor the weights name them.
        shipped_weights: folder in ``models/`` of the weights that come with the bundle; None if there are none.
    """

    name: str
    volumes: bool
    overlays: tuple[str, ...]
    train_overlays: tuple[str, ...]
    metadata: str
    label_table: str
    channels: tuple[str, ...]
    shipped_weights: str | None = None


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
            "glands",
        ),
    )
}
"""All kinds of task by name."""


def task_of(name: str) -> Task:
    """Return the task with this name.

    Raises:
        ValueError: there is no such task; the message lists the known ones.
    """
    if name not in TASKS:
        raise ValueError(f"Unknown task '{name}'; known: {', '.join(TASKS)}.")
    return TASKS[name]
