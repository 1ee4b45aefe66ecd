"""Comparison of runs, paired by case: mean difference, its bootstrap interval, and Wilcoxon's signed-rank test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

from i2net_bundle.metrics.registry import METRICS, PROTOCOLS, Metric
from i2net_bundle.metrics.uncertainty import bootstrap_interval
from i2net_bundle.reports.run_results import METRICS_NAME, ScoreTable, evaluation_folder, read_scores

FEWEST_PAIRS = 6
"""With fewer pairs, the smallest two-sided p of the signed-rank test, 2 / 2^n, is above 0.05."""


@dataclass(frozen=True)
class Column:
    """A column of the comparison: a metric, averaged over each case's classes or of one class.

    Attributes:
        metric: the metric.
        unit: unit as printed; "%" for shares.
        class_name: None for the mean over each case's classes.
    """

    metric: Metric
    unit: str
    class_name: str | None = None

    @property
    def name(self) -> str:
        """Label of the metric, or the class whose value it is."""
        return self.class_name or self.metric.short_label

    @property
    def title(self) -> str:
        """Name, and the unit unless the column is a class."""
        return f"{self.name} ({self.unit})" if self.unit and not self.class_name else self.name

    @property
    def decimals(self) -> int:
        """Decimals as printed; two for percentages."""
        return 2 if self.unit == "%" else self.metric.decimals

    def values(self, scores: ScoreTable) -> np.ndarray:
        """Value of every case (cases,) in the printed unit; NaN where it is undefined."""
        scale = 100.0 if self.unit == "%" else 1.0
        if self.class_name is None:
            return scale * scores.case_values(self.metric.name)
        return scale * scores.matrix(self.metric.name)[:, scores.classes.index(self.class_name)]


@dataclass(frozen=True)
class Difference:
    """Difference of a run to the first run, over pairs of cases.

    Attributes:
        mean: mean difference; None without pairs.
        interval: 95 % bootstrap interval of the mean; None with too few patients (or cases), see `bootstrap_interval`.
        p: two-sided p of Wilcoxon's signed-rank test; 1 if nothing differs, None without pairs.
        pairs: number of cases with a value in both runs.
        tested: number of non-zero differences that the test ranks, of patients if they are known, otherwise of cases.
        undefined: number of cases with a value in one run only, which are left out.
    """

    mean: float | None
    interval: tuple[float, float] | None
    p: float | None
    pairs: int
    tested: int
    undefined: int


@dataclass(frozen=True)
class Comparison:
    """Scores of runs and their differences to the first run.

    Attributes:
        names: names of the runs.
        protocols: columns of every protocol.
        cases: cases of all runs.
        left_out: cases that some run lacks.
        metrics_left_out: metrics that some run lacks.
        resampled: "patients" or "cases".
        means: for every run, the mean over cases of every (protocol, column number); NaN without values.
        differences: for every run but the first, the difference of every (protocol, column number).
    """

    names: list[str]
    protocols: dict[str, list[Column]]
    cases: list[str]
    left_out: list[str]
    metrics_left_out: list[str]
    resampled: str
    means: list[dict[tuple[str, int], float]]
    differences: list[dict[tuple[str, int], Difference]]


def compare_runs(folders: Sequence[str | Path], common_only: bool = False) -> Comparison:
    """Compare the evaluations of runs with the first one, paired by case.

    Args:
        folders: two or more folders of runs or of evaluations.
        common_only: leave out cases that some run lacks.

    Raises:
        FileNotFoundError: a folder contains no evaluation.
        ValueError: the runs cannot be paired; the message names them and says why.
    """
    if len(folders) < 2:
        raise ValueError("A comparison needs two runs or more.")
    names = run_names([Path(folder) for folder in folders])
    tables = [read_scores(evaluation_folder(Path(folder)) / METRICS_NAME) for folder in folders]
    require_same_scoring(names, tables)
    cases, left_out = _common_cases(names, tables, common_only)
    tables = [_only(table, cases) for table in tables]
    require_same_truth(names, tables)
    every = [metric for table in tables for metric in table.metrics]
    common = [metric for metric in tables[0].metrics if every.count(metric) == len(tables)]
    protocols = protocol_columns(tables[0], common)
    patients = tables[0].patients()
    columns = [(key, i, column) for key, entries in protocols.items() for i, column in enumerate(entries)]
    values = [{(key, i): column.values(table) for key, i, column in columns} for table in tables]
    return Comparison(
        names=names,
        protocols=protocols,
        cases=cases,
        left_out=left_out,
        metrics_left_out=[metric.label for metric in METRICS.values() if metric in every and metric not in common],
        resampled="patients" if patients else "cases",
        means=[{key: defined_mean(own) for key, own in run.items()} for run in values],
        differences=[{key: paired_difference(values[0][key], run[key], patients) for key in run} for run in values[1:]],
    )


def paired_difference(first: np.ndarray, second: np.ndarray, patients: Sequence[str] | None = None) -> Difference:
    """Mean difference of two runs' values of the same cases, second minus first.

    Args:
        first: (cases,), NaN where the value is undefined.
        second: (cases,), likewise.
        patients: patient of every case. Cases of one patient are not independent, so the interval resamples patients
            and the test ranks each patient's mean difference.
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
    units = np.round(units, 9)  # differences of rounding only are ties
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
    """Names of runs: names of their folders, with as many parent folders as it takes to tell them apart."""
    paths = [folder.resolve() for folder in folders]
    paths = [path.parent if path.name == "evaluation" else path for path in paths]
    if len(set(paths)) < len(paths):
        raise ValueError("The same run is given twice. Pass different runs.")
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return ["/".join(path.parts[-depth:]) for path in paths]


def protocol_columns(scores: ScoreTable, metrics: Sequence[Metric]) -> dict[str, list[Column]]:
    """Columns of every protocol, transunet first as in the paper: its metrics, then Dice of each of several classes."""
    several = scores.classes if len(scores.classes) > 1 else []
    protocols: dict[str, list[Column]] = {}
    for name in dict.fromkeys(("transunet", *PROTOCOLS)):
        own = [metric for metric in metrics if metric.protocol == name]
        units = ["%" if metric.unit == "share" else metric.shown_unit(scores.distance_unit) for metric in own]
        columns = [Column(metric, unit) for metric, unit in zip(own, units, strict=True)]
        by_class = [metric for metric in own if metric.name == f"{name}_dice" and metric.level == "class"]
        columns += [Column(metric, "%", class_name) for metric in by_class for class_name in several]
        if columns:
            protocols[name] = columns
    return protocols


def require_same_scoring(names: Sequence[str], tables: Sequence[ScoreTable]) -> None:
    """Refuse runs that were scored on other classes, in other units or by other protocols."""
    first = tables[0]
    for name, table in zip(names[1:], tables[1:], strict=True):
        if table.classes != first.classes:
            raise ValueError(
                f"{name} scores the classes {', '.join(table.classes)}; {names[0]} scores {', '.join(first.classes)}. "
                "Compare runs on the same classes."
            )
        if table.unit != first.unit:
            raise ValueError(
                f"{name} measures distances in {table.unit}, {names[0]} in {first.unit}. Evaluate both on files with "
                "the same geometry."
            )
        own, others = (sorted({metric.protocol for metric in scores.metrics}) for scores in (table, first))
        if own != others:
            raise ValueError(
                f"{name} is scored by {', '.join(own)}; {names[0]} by {', '.join(others)}. Evaluate both with the same "
                "version."
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


def require_same_truth(names: Sequence[str], tables: Sequence[ScoreTable]) -> None:
    """Refuse cases of one name that were scored against different labels."""
    amounts = [name for name in ("label_ml", "label_voxels") if all(name in table.columns for table in tables)]
    if not amounts:
        return
    first = tables[0].matrix(amounts[0])
    for name, table in zip(names[1:], tables[1:], strict=True):
        same = np.isclose(first, table.matrix(amounts[0]), rtol=1e-4, equal_nan=True)
        if not same.all():
            case, index = np.argwhere(~same)[0]
            raise ValueError(
                f"{table.classes[index]} of {table.cases[case]} differs in the labels of {names[0]} and {name}: the "
                "runs were scored against different labels. Evaluate both on the same data set."
            )


def defined_mean(values: np.ndarray) -> float:
    """Mean of the values that are defined; NaN without any."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")
