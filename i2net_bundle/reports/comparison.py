"""Runs against each other, paired by case: differences, their bootstrap interval, Wilcoxon's signed-rank test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

from i2net_bundle.metrics.uncertainty import bootstrap_interval
from i2net_bundle.reports.run_results import METRICS_NAME, ScoreTable, evaluation_folder, read_scores

FEWEST_PAIRS = 6
"""With fewer pairs the smallest two-sided p of the signed-rank test, 2 / 2^n, is above 0.05."""
_AMOUNTS = ("label_ml", "label_px", "label_voxels")


@dataclass(frozen=True)
class Column:
    """A score that runs are compared by.

    Attributes:
        metric: column of ``metrics.csv``.
        name: "DSC", "HD95", ..., or the class whose Dice it is.
        unit: "%" or that of the distance.
        class_name: None for the mean over each case's classes.
    """

    metric: str
    name: str
    unit: str
    class_name: str | None = None

    @property
    def title(self) -> str:
        """Name, and unit where it is no class."""
        return self.name if self.class_name else f"{self.name} ({self.unit})"

    @property
    def scale(self) -> float:
        """From the file's values to what is shown."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def lower_is_better(self) -> bool:
        """Whether it is a distance."""
        return self.unit != "%"

    def values(self, scores: ScoreTable) -> np.ndarray:
        """Of every case (cases,), as shown; NaN where it is not defined."""
        if self.class_name is None:
            return self.scale * scores.case_values(self.metric)
        return self.scale * scores.matrix(self.metric)[:, scores.classes.index(self.class_name)]


@dataclass(frozen=True)
class Difference:
    """A run's score minus the first run's, over pairs of cases.

    Attributes:
        mean: of the differences; None without pairs.
        interval: 95 % bootstrap interval of the mean; None where there are fewer than two patients or cases.
        p: of Wilcoxon's signed-rank test, two-sided; 1 where nothing differs.
        pairs: cases where the score is defined in both.
        tested: differences that are not zero, which the test ranks: of patients where they are known, else of cases.
        undefined: cases where it is defined in one run alone, and which are left out.
    """

    mean: float | None
    interval: tuple[float, float] | None
    p: float | None
    pairs: int
    tested: int
    undefined: int


@dataclass(frozen=True)
class Comparison:
    """Scores of runs and their differences to the first one.

    Attributes:
        names: of the runs.
        protocols: name to its columns, in the layout of the paper's tables.
        cases: that all runs have.
        left_out: cases that not all of them have.
        resampled: "patients" or "cases".
        means: of every run (protocol, column number) over cases; NaN where there is none.
        differences: of every run but the first, likewise.
    """

    names: list[str]
    protocols: dict[str, list[Column]]
    cases: list[str]
    left_out: list[str]
    resampled: str
    means: list[dict[tuple[str, int], float]]
    differences: list[dict[tuple[str, int], Difference]]


def compare_runs(folders: Sequence[str | Path], common_only: bool = False) -> Comparison:
    """Compare the evaluations of runs with the first one, paired by case.

    Args:
        folders: of two or more runs or evaluations.
        common_only: leave out cases that not all of them have.

    Raises:
        FileNotFoundError: a folder holds no evaluation.
        ValueError: the runs cannot be paired; names them and why.
    """
    if len(folders) < 2:
        raise ValueError("A comparison needs two runs or more.")
    names = run_names([Path(folder) for folder in folders])
    tables = [read_scores(evaluation_folder(Path(folder)) / METRICS_NAME) for folder in folders]
    _require_same(names, tables)
    cases, left_out = _common_cases(names, tables, common_only)
    tables = [_only(table, cases) for table in tables]
    _require_same_truth(names, tables)
    protocols = _protocols(tables[0])
    patients = tables[0].patients()
    columns = [(key, i, column) for key, entries in protocols.items() for i, column in enumerate(entries)]
    values = [{(key, i): column.values(table) for key, i, column in columns} for table in tables]
    return Comparison(
        names=names,
        protocols=protocols,
        cases=cases,
        left_out=left_out,
        resampled="patients" if patients else "cases",
        means=[{key: _mean(own) for key, own in run.items()} for run in values],
        differences=[{key: paired_difference(values[0][key], run[key], patients) for key in run} for run in values[1:]],
    )


def paired_difference(first: np.ndarray, second: np.ndarray, patients: Sequence[str] | None = None) -> Difference:
    """Mean difference of two scores of the same cases, second minus first.

    Args:
        first: (cases,), NaN where it is not defined.
        second: likewise.
        patients: of every case. Cases of one patient are not independent: the interval resamples patients, and the
            test ranks the mean difference of each.
    """
    both = np.isfinite(first) & np.isfinite(second)
    differences = np.where(both, second - first, np.nan)
    undefined = int((np.isfinite(first) ^ np.isfinite(second)).sum())
    if not both.any():
        return Difference(None, None, None, 0, 0, undefined)
    units = differences[both]
    if patients is not None:
        owners = np.array(patients)[both]
        units = np.array([units[owners == owner].mean() for owner in np.unique(owners)])
    units = np.round(units, 9)  # what cancels to the last digits but one is equal
    ranked = units[units != 0]
    p = float(wilcoxon(ranked).pvalue) if len(ranked) else 1.0
    return Difference(
        mean=float(differences[both].mean()),
        interval=bootstrap_interval(differences, patients),
        p=p,
        pairs=int(both.sum()),
        tested=len(ranked),
        undefined=undefined,
    )


def run_names(folders: Sequence[Path]) -> list[str]:
    """Names of runs: their folders', with as many of those above as tell them apart."""
    paths = [folder.resolve() for folder in folders]
    paths = [path.parent if path.name == "evaluation" else path for path in paths]
    if len(set(paths)) < len(paths):
        raise ValueError("The same run is named twice. Name different runs.")
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return ["/".join(path.parts[-depth:]) for path in paths]


def _protocols(scores: ScoreTable) -> dict[str, list[Column]]:
    several = scores.classes if len(scores.classes) > 1 else []
    pixels = scores.unit == "px"
    protocols = {
        name: [
            Column(f"{name}_dice", "DSC", "%"),
            Column(f"{name}_hd95", "HD95", unit),
            *(Column(f"{name}_dice", class_name, "%", class_name) for class_name in several),
        ]
        for name, unit in (("transunet", "px" if pixels else "voxels"), ("strict", scores.unit))
        if f"{name}_dice" in scores.columns
    }
    objects = [
        Column(metric, name, unit)
        for metric, name, unit in (
            ("object_f1", "F1", "%"),
            ("object_dice", "object DSC", "%"),
            ("object_hausdorff", "object Hausdorff", "px"),
        )
        if metric in scores.columns
    ]
    return protocols | ({"object": objects} if objects else {})


def _require_same(names: Sequence[str], tables: Sequence[ScoreTable]) -> None:
    """Refuse runs that were scored for other classes, in other units or by other protocols."""
    for name, table in zip(names[1:], tables[1:], strict=True):
        first = tables[0]
        if table.classes != first.classes:
            raise ValueError(
                f"{name} scores the classes {', '.join(table.classes)}; {names[0]} {', '.join(first.classes)}. Compare "
                "runs on the same classes."
            )
        if table.unit != first.unit:
            raise ValueError(
                f"{name} measures distances in {table.unit}, {names[0]} in {first.unit}. Evaluate both on files with "
                "the same geometry."
            )
        own, theirs = (set(_protocols(scores)) for scores in (table, first))
        if own != theirs:
            raise ValueError(
                f"{name} is scored by {', '.join(sorted(own))}; {names[0]} by {', '.join(sorted(theirs))}. Evaluate "
                "both with the same version."
            )


def _common_cases(names: Sequence[str], tables: Sequence[ScoreTable], common_only: bool) -> tuple[list[str], list[str]]:
    common = [case for case in tables[0].cases if all(case in table.cases for table in tables)]
    every = list(dict.fromkeys(case for table in tables for case in table.cases))
    left_out = [case for case in every if case not in common]
    if not common:
        raise ValueError(f"{' and '.join(names)} have no case in common, so nothing can be paired.")
    if left_out and not common_only:
        lacking = "; ".join(
            f"{name} lacks {', '.join(missing)}"
            for name, table in zip(names, tables, strict=True)
            if (missing := [case for case in every if case not in table.cases])
        )
        raise ValueError(f"{lacking}. Evaluate the runs on the same cases, or compare the others with --common-only.")
    return common, left_out


def _only(table: ScoreTable, cases: Sequence[str]) -> ScoreTable:
    return ScoreTable(
        table.path, {(c, n): table.rows[c, n] for c in cases for n in table.classes if (c, n) in table.rows}
    )


def _require_same_truth(names: Sequence[str], tables: Sequence[ScoreTable]) -> None:
    """Refuse cases of one name that were scored against different labels."""
    amount = next((name for name in _AMOUNTS if all(name in table.columns for table in tables)), None)
    if amount is None:
        return
    first = tables[0].matrix(amount)
    for name, table in zip(names[1:], tables[1:], strict=True):
        same = np.isclose(first, table.matrix(amount), rtol=1e-4, equal_nan=True)
        if not same.all():
            case, index = np.argwhere(~same)[0]
            raise ValueError(
                f"{table.classes[index]} of {table.cases[case]} differs in the labels of {names[0]} and {name}: they "
                "were scored against different labels."
            )


def _mean(values: np.ndarray) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")
