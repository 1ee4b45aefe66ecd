"""Tables of the report: scores with their confidence intervals, cases, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from i2net_bundle.metrics.protocols import ABSENT, INVENTED, MISSED
from i2net_bundle.metrics.uncertainty import bootstrap_interval
from i2net_bundle.reports.run_results import ScoreTable

NOTHING = "–"
_METRICS = {
    "strict_dice": "strict Dice",
    "strict_hd95": "strict HD95, {unit}",
    "strict_surface_dice": "strict surface Dice",
    "transunet_dice": "transunet Dice",
    "transunet_hd95": "transunet HD95, {grid_unit}",
    "volume_difference_ml": "volume difference, mL",
    "strict_volume_difference_ml": "volume difference, mL",
}
_OBJECT_METRICS = {"object_f1": "F1", "object_dice": "object Dice", "object_hausdorff": "object Hausdorff, px"}


@dataclass(frozen=True)
class Table:
    """A table of the page; a cell may have a second line, after a newline.

    Attributes:
        title: above it.
        header: of every column.
        rows: texts; the first of each row is its name.
        totals: how many of the last rows summarise the others.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    totals: int = 0


def score_table(scores: ScoreTable) -> Table:
    """Mean and interval of every metric per class, and of each case's mean over its classes."""
    metrics = [metric for metric in _METRICS if metric in scores.columns]
    counts = [MISSED, INVENTED, ABSENT]
    patients, statuses = scores.patients(), scores.statuses()
    matrices = {metric: scores.matrix(metric) for metric in metrics}
    rows = []
    for index, name in enumerate(scores.classes):
        cells = [mean_with_interval(matrices[metric][:, index], patients) for metric in metrics]
        rows.append([name, *cells, *(str(int((statuses[:, index] == status).sum())) for status in counts)])
    chosen = [("mean over classes and cases" if len(scores.classes) > 1 else "mean", np.full(len(scores.cases), True))]
    parts = np.array(scores.texts("part"))
    chosen += (
        [(f"{part or 'no part'} alone", parts == part) for part in sorted(set(parts))] if len(set(parts)) > 1 else []
    )
    totals = [_total(scores, name, cases, metrics, counts) for name, cases in chosen]
    totals = totals if len(scores.classes) > 1 or len(totals) > 1 else []
    units = {"unit": scores.unit, "grid_unit": "px" if scores.unit == "px" else "voxels"}
    header = ["class", *(_METRICS[metric].format(**units) for metric in metrics), *counts]
    return Table("Scores per class", header, [*rows, *totals], len(totals))


def _total(
    scores: ScoreTable, name: str, cases: np.ndarray, metrics: Sequence[str], counts: Sequence[str]
) -> list[str]:
    patients = scores.patients()
    members = None if patients is None else [own for own, here in zip(patients, cases, strict=True) if here]
    cells = [mean_with_interval(scores.case_values(metric)[cases], members) for metric in metrics]
    return [name, *cells, *(str(int((scores.statuses()[cases] == status).sum())) for status in counts)]


def object_table(scores: ScoreTable) -> Table | None:
    """Mean and interval of the scores of glands as objects, over images; None where there are none."""
    metrics = [metric for metric in _OBJECT_METRICS if metric in scores.columns]
    if not metrics:
        return None
    parts = np.array(scores.texts("part"))
    groups = [("all images", np.full(len(parts), True))]
    groups += [(part or "no part", parts == part) for part in sorted(set(parts))] if len(set(parts)) > 1 else []
    patients = np.array(scores.patients() or [""] * len(parts))
    rows = []
    for name, chosen in groups:
        members = list(patients[chosen]) if scores.patients() else None
        cells = [mean_with_interval(scores.case_values(metric)[chosen], members) for metric in metrics]
        rows.append([name, *cells])
    return Table("Glands as objects", ["images", *(_OBJECT_METRICS[metric] for metric in metrics)], rows)


def case_table(scores: ScoreTable) -> Table:
    """Every case, the worst first: each class's Dice, and what was missed or invented."""
    metric = "strict_dice" if "strict_dice" in scores.columns else "transunet_dice"
    matrix, means, statuses = scores.matrix(metric), scores.case_values(metric), scores.statuses()
    rows = []
    for case in np.argsort(means, kind="stable"):
        cells = [
            number(value) + (f"\n{status}" if status in (MISSED, INVENTED) else "")
            for value, status in zip(matrix[case], statuses[case], strict=True)
        ]
        rows.append([scores.cases[case], number(means[case]), *cells])
    classes = scores.classes if len(scores.classes) > 1 else []
    if not classes:
        rows = [row[:2] if "\n" not in row[2] else [row[0], row[2]] for row in rows]
    return Table(f"Dice of every case ({metric.split('_')[0]}), the worst first", ["case", "mean", *classes], rows)


def calibration_table(calibration: Mapping[str, Any]) -> Table:
    """Expected calibration error by predicted class, from ``calibration.json``."""
    groups = {"all pixels": calibration["all"], "pixels of a class, in truth or prediction": calibration["foreground"]}
    groups |= {f"predicted {name}": part for name, part in calibration["classes"].items()}
    rows = []
    for name, part in groups.items():
        count = np.array(part["count"], np.float64)
        means = [
            number(float(np.nansum(np.array(part[key], np.float64) * count) / part["pixels"]))
            if part["pixels"]
            else NOTHING
            for key in ("confidence", "accuracy")
        ]
        rows.append([name, NOTHING if part["ece"] is None else number(part["ece"]), *means, f"{part['pixels']:,}"])
    header = ["pixels", "calibration error", "mean confidence", "accuracy", "number"]
    return Table("Expected calibration error", header, rows)


def mean_with_interval(values: np.ndarray, patients: Sequence[str] | None) -> str:
    """Mean, and its 95 % bootstrap interval on a second line."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return NOTHING
    interval = bootstrap_interval(values, patients)
    return number(float(defined.mean())) + (f"\n{number(interval[0])} to {number(interval[1])}" if interval else "")


def number(value: float) -> str:
    """A score to three digits behind the point, larger amounts to one."""
    if not np.isfinite(value):
        return NOTHING
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
