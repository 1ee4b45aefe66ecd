"""The plan of a study: arms, seeds and folds, whose combinations are its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class PlanError(ValueError):
    """The description of a study is wrong; the message names the file, the fault and the remedy."""


@dataclass(frozen=True)
class Options:
    """What distinguishes runs: overlays and settings.

    Attributes:
        overlays: overlays of training and evaluation.
        train_overlays: overlays of training alone.
        settings: settings of training by id.
        evaluate_settings: settings of evaluation by id.
    """

    overlays: tuple[str, ...] = ()
    train_overlays: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    evaluate_settings: Mapping[str, Any] = field(default_factory=dict)

    def plus(self, other: Options) -> Options:
        """These options, followed by others, which take precedence."""
        return Options(
            (*self.overlays, *other.overlays),
            (*self.train_overlays, *other.train_overlays),
            {**self.settings, **other.settings},
            {**self.evaluate_settings, **other.evaluate_settings},
        )


@dataclass(frozen=True)
class Arm:
    """One combination of the axes' values: a row of the tables.

    Attributes:
        name: names of the values, joined by "/"; also the path of its folder.
        title: name as printed.
        options: of all parts of the study and of its values.
    """

    name: str
    title: str
    options: Options


@dataclass(frozen=True)
class Folds:
    """How the data are divided: data lists that exist, or a number of folds to make.

    Attributes:
        lists: names of data lists in the data set's folder.
        count: number of folds to make; None with ``lists``.
        by: "image", or "patient" to keep the images of a patient together.
        seed: seed of the shuffling.
        datalist: data list whose cases are divided.
        pooled: its lists that are divided; others, such as test cases, are not used.
        only: numbers of the folds that are run, from 0; empty for all of them.
    """

    lists: tuple[str, ...] = ()
    count: int | None = None
    by: str = "image"
    seed: int = 0
    datalist: str = "dataset.json"
    pooled: tuple[str, ...] = ("training", "validation")
    only: tuple[int, ...] = ()


@dataclass(frozen=True)
class Published:
    """Published figures to print beside those of the study.

    Attributes:
        table: key in ``configs/studies/published.yaml``.
        comparable: whether the study scores the same data by the same rules.
    """

    table: str
    comparable: bool = False


@dataclass(frozen=True)
class Plan:
    """Description of a study.

    Attributes:
        path: the file.
        title: title of its tables.
        task: kind of task, see `i2net_bundle.tasks`.
        arms: rows of the tables.
        reference: name of the arm that the others are compared with; None for a study of one arm.
        seeds: seeds of every arm.
        folds: how the data are divided.
        split: list of every fold's data list that is scored.
        gpus: number of GPUs to spread the runs over; 0 leaves the device to the configuration.
        published: published figures, if any.
    """

    path: Path
    title: str
    task: str
    arms: tuple[Arm, ...]
    reference: str | None
    seeds: tuple[int, ...]
    folds: Folds
    split: str
    gpus: int = 0
    published: Published | None = None
