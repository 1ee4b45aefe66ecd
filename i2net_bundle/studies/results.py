"""Results of a study: the folds of each arm joined, seeds averaged, and every arm compared with the reference.

Cross-validation scores every case once, by a network that has not seen it. The scores of a seed's folds are therefore
one table. A case's score is its mean over the seeds; differences pair these scores by case.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from i2net_bundle.io.json_files import read_json_or_empty
from i2net_bundle.metrics.holm import holm
from i2net_bundle.reports.comparison import (
    Column,
    Difference,
    defined_mean,
    paired_difference,
    protocol_columns,
    require_same_scoring,
    require_same_truth,
)
from i2net_bundle.reports.run_results import EVALUATION_FOLDER, METRICS_NAME, SUMMARY_NAME, ScoreTable, read_scores
from i2net_bundle.studies.cells import Cell, is_finished
from i2net_bundle.studies.plan import Plan
from i2net_bundle.studies.preflight import Fold

Key = tuple[str, int]
"""Protocol, and number of the column in it."""


@dataclass(frozen=True)
class ArmResults:
    """Scores of an arm.

    Attributes:
        name: name of the arm.
        title: its name as printed.
        finished: number of its finished cells.
        cells: number of its cells.
        seeds: seeds whose folds are all finished. The values below are empty without any.
        means: mean over cases of each case's mean over seeds.
        deviations: standard deviation over seeds of the mean over cases; None with one seed.
        counts: number of cases with a value.
        differences: paired difference to the reference; empty for the reference itself. p is corrected by Holm's method
            over the arms, and None where there is no interval.
        mean_ious: for each finished cell, the mean over classes of the intersection over union of its cases together.
    """

    name: str
    title: str
    finished: int
    cells: int
    seeds: tuple[int, ...] = ()
    means: Mapping[Key, float] = field(default_factory=dict)
    deviations: Mapping[Key, float | None] = field(default_factory=dict)
    counts: Mapping[Key, int] = field(default_factory=dict)
    differences: Mapping[Key, Difference] = field(default_factory=dict)
    mean_ious: tuple[float, ...] = ()


@dataclass(frozen=True)
class StudyResults:
    """Scores of a study.

    Attributes:
        plan: the study.
        arms: results of its arms, in the order of the plan.
        protocols: columns of every protocol; empty as long as no arm is complete.
        resampled: "patients" or "cases", which the intervals resample and the tests rank.
        cases: number of cases that are scored.
    """

    plan: Plan
    arms: list[ArmResults]
    protocols: Mapping[str, list[Column]]
    resampled: str
    cases: int

    @property
    def complete(self) -> bool:
        """Whether all cells are finished."""
        return all(arm.finished == arm.cells for arm in self.arms)


def study_results(plan: Plan, folds: Sequence[Fold], cells: Sequence[Cell]) -> StudyResults:
    """Join and compare the scores of the finished cells.

    Args:
        plan: the study.
        folds: its folds.
        cells: all its cells.

    Raises:
        ValueError: scores cannot be joined or paired; the message names them and says why.
    """
    finished = {(cell.arm, cell.seed, cell.fold): cell for cell in cells if is_finished(cell)}
    tables: dict[str, dict[int, ScoreTable]] = {}
    for arm in plan.arms:
        tables[arm.name] = {
            seed: joined([finished[arm.name, seed, fold.name] for fold in folds], folds)
            for seed in plan.seeds
            if all((arm.name, seed, fold.name) in finished for fold in folds)
        }
    every = [(f"{name}, seed {seed}", table) for name, own in tables.items() for seed, table in own.items()]
    if every:
        names, flat = [name for name, _ in every], [table for _, table in every]
        require_same_scoring(names, flat)
        require_same_truth(names, flat)
    protocols = _columns([table for _, table in every])
    patients = every[0][1].patients() if every else None
    values = {name: _values(own, protocols) for name, own in tables.items()}
    arms = []
    for arm in plan.arms:
        own, done = tables[arm.name], [key for key in finished if key[0] == arm.name]
        arms.append(
            ArmResults(
                name=arm.name,
                title=arm.title,
                finished=len(done),
                cells=len(plan.seeds) * len(folds),
                seeds=tuple(own),
                means={key: defined_mean(_over_seeds(own)) for key, own in values[arm.name].items()},
                deviations={key: _deviation(own) for key, own in values[arm.name].items()},
                counts={key: int(np.isfinite(_over_seeds(own)).sum()) for key, own in values[arm.name].items()},
                differences=_differences(plan, arm.name, values, patients),
                mean_ious=tuple(_mean_ious(finished[key] for key in done)),
            )
        )
    return StudyResults(
        plan=plan,
        arms=_corrected(arms),
        protocols=protocols,
        resampled="patients" if patients else "cases",
        cases=sum(len(fold.scored) for fold in folds),
    )


def joined(cells: Sequence[Cell], folds: Sequence[Fold]) -> ScoreTable:
    """Scores of one seed's folds as one table, whose cases have names that are unique in the study.

    Args:
        cells: one finished cell per fold.
        folds: the folds, in the same order.

    Raises:
        ValueError: the folds were scored on different classes or in different units.
    """
    tables = [read_scores(cell.folder / EVALUATION_FOLDER / METRICS_NAME) for cell in cells]
    require_same_scoring([cell.name for cell in cells], tables)
    rows = {
        (unique, name): table.rows[case, name]
        for table, fold in zip(tables, folds, strict=True)
        for case, unique in fold.scored.items()
        for name in table.classes
        if (case, name) in table.rows
    }
    return ScoreTable(tables[0].path, rows)


def _mean_ious(cells: Iterable[Cell]) -> Iterator[float]:
    for cell in cells:
        iou = read_json_or_empty(cell.folder / EVALUATION_FOLDER / SUMMARY_NAME).get("iou")
        if isinstance(iou, dict) and isinstance(iou.get("mean"), float):
            yield iou["mean"]


def _columns(tables: Sequence[ScoreTable]) -> dict[str, list[Column]]:
    if not tables:
        return {}
    common = [metric for metric in tables[0].metrics if all(metric in table.metrics for table in tables)]
    return protocol_columns(tables[0], common)


def _values(tables: Mapping[int, ScoreTable], protocols: Mapping[str, list[Column]]) -> dict[Key, np.ndarray]:
    """Values (seeds, cases) of every column; empty without seeds."""
    if not tables:
        return {}
    return {
        (protocol, index): np.array([column.values(table) for table in tables.values()])
        for protocol, columns in protocols.items()
        for index, column in enumerate(columns)
    }


def _over_seeds(values: np.ndarray) -> np.ndarray:
    """Mean of each case (cases,) over the seeds in which it is defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a case that is defined in no seed
        mean: np.ndarray = np.nanmean(values, axis=0)
    return mean


def _deviation(values: np.ndarray) -> float | None:
    means = np.array([defined_mean(row) for row in values])
    return float(means.std(ddof=1)) if len(means) > 1 else None


def _differences(
    plan: Plan, name: str, values: Mapping[str, Mapping[Key, np.ndarray]], patients: Sequence[str] | None
) -> dict[Key, Difference]:
    if plan.reference is None or name == plan.reference or not values[name] or not values[plan.reference]:
        return {}
    first = values[plan.reference]
    found = {}
    for key, own in values[name].items():
        difference = paired_difference(_over_seeds(first[key]), _over_seeds(own), patients)
        found[key] = difference if difference.interval else replace(difference, p=None)
    return found


def _corrected(arms: Iterable[ArmResults]) -> list[ArmResults]:
    """Correct each column's p over the arms that are compared with the reference."""
    arms = list(arms)
    keys = {key for arm in arms for key in arm.differences}
    adjusted = {key: holm([arm.differences[key].p if key in arm.differences else None for arm in arms]) for key in keys}
    return [
        replace(
            arm,
            differences={
                key: replace(difference, p=adjusted[key][index]) for key, difference in arm.differences.items()
            },
        )
        for index, arm in enumerate(arms)
    ]
