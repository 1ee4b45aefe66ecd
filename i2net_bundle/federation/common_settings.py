"""What the data sets of a federation must have in common, checked before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from i2net_bundle.data import describe_dataset, load_cases
from i2net_bundle.data.datalist import DATALIST
from i2net_bundle.tasks import Task


def check_sites(sites: Mapping[str, Path], test: Path, task: Task) -> None:
    """Check the data lists of the sites and of the common test set.

    Args:
        sites: folder of each site's data list by the site's name.
        test: folder of the test set's data list.
        task: kind of task.

    Raises:
        ValueError: there are fewer than two sites, a site has no training cases, the test set has no test cases, or
            classes, channels, label values or the ignored label differ.
        FileNotFoundError: a data list, or a file that it names, does not exist.
    """
    if len(sites) < 2:
        raise ValueError("A federation needs at least two sites. Pass --site NAME=DIR for each of them.")
    load_cases(test, "test")
    for name, folder in sites.items():
        if not load_cases(folder, "training", required=False):
            raise ValueError(
                f"{folder / DATALIST}: lists no 'training' cases, so {name} has nothing to train on. Add cases to that "
                "list, or leave the site out."
            )
    first, *others = (*sites.values(), test)
    expected = _settings(first, task)
    for folder in others:
        for what, value in _settings(folder, task).items():
            if value != expected[what]:
                raise ValueError(
                    f"{folder / DATALIST}: has the {what} {value}; {first / DATALIST} has {expected[what]}. Weights "
                    "can be averaged only if these are the same at all sites. Correct the data list, and the labels "
                    "if their numbers change."
                )


def _settings(folder: Path, task: Task) -> dict[str, str]:
    found = describe_dataset(folder, label_table=task.label_table, channels=task.channels)
    return {
        "classes": ", ".join(found.class_names),
        "channels": ", ".join(found.channels),
        "label values": str(found.label_values),
        "ignored label": str(found.ignore_id),
    }
