"""Tables of the report: scores with their confidence intervals, cases, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from i2net_bundle.metrics.mask_pair import ABSENT, INVENTED, MISSED
from i2net_bundle.metrics.registry import Metric
from i2net_bundle.metrics.uncertainty import bootstrap_interval
from i2net_bundle.reports.run_results import ScoreTable

NOTHING = "–"
NO_INTERVAL = "no interval"


@dataclass(frozen=True)
class Table:
    """A table of the page; a cell may have a second line, after a newline.

    Attributes:
        title: caption.
        header: name of every column.
        rows: cells of every row; the first cell names the row.
        totals: number of last rows that summarise the others.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    totals: int = 0


def score_table(scores: ScoreTable) -> Table:
    """Mean and interval of every metric of classes, per class and over the classes of each case."""
    metrics = [metric for metric in scores.metrics if metric.level == "class"]
    patients, statuses = scores.patients(), scores.statuses()
    matrices = [scores.matrix(metric.name) for metric in metrics]
    rows = []
    for index, name in enumerate(scores.classes):
        cells = [
            mean_with_interval(matrix[:, index], patients, metric.decimals)
            for metric, matrix in zip(metrics, matrices, strict=True)
        ]
        rows.append([name, *cells, *_counts(statuses[:, index])])
    several = len(scores.classes) > 1
    groups = _groups(scores, "mean over classes and cases" if several else "mean", "{} only")
    totals = [
        [name, *_means(scores, metrics, chosen), *_counts(statuses[chosen])]
        for name, chosen in groups
        if several or len(groups) > 1
    ]
    header = ["class", *(titled(metric, scores) for metric in metrics), MISSED, INVENTED, ABSENT]
    return Table("Scores per class", header, [*rows, *totals], len(totals))


def object_table(scores: ScoreTable) -> Table | None:
    """Mean and interval over images of every metric of objects; None without such metrics."""
    metrics = [metric for metric in scores.metrics if metric.level == "object"]
    if not metrics:
        return None
    rows = [[name, *_means(scores, metrics, chosen)] for name, chosen in _groups(scores, "all images", "{}")]
    return Table("Glands as objects", ["images", *(titled(metric, scores) for metric in metrics)], rows)


def iou_table(iou: Mapping[str, Any]) -> Table:
    """Intersection over union of every class, over all cases together, and its mean.

    Args:
        iou: "iou" of ``summary.json``.
    """
    values = {**iou["classes"], "mean over classes (mIoU)": iou["mean"]}
    rows = [[name, NOTHING if value is None else number(value)] for name, value in values.items()]
    return Table("Intersection over union, all cases together", ["class", "IoU"], rows, 1)


def case_table(scores: ScoreTable) -> Table:
    """All cases, worst first: Dice of each class, and which classes were missed or invented."""
    metric = scores.main_metric
    matrix, means, statuses = scores.matrix(metric.name), scores.case_values(metric.name), scores.statuses()
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
    return Table(
        f"{metric.short_label} of every case ({metric.protocol}), worst first", ["case", "mean", *classes], rows
    )


def calibration_table(calibration: Mapping[str, Any]) -> Table:
    """Expected calibration error of all pixels, of the foreground and of each predicted class."""
    groups = {"all pixels": calibration["all"], "foreground, in truth or prediction": calibration["foreground"]}
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
    header = ["pixels", "calibration error", "mean confidence", "accuracy", "number of pixels"]
    return Table("Expected calibration error", header, rows)


def titled(metric: Metric, scores: ScoreTable) -> str:
    """Label of a metric with its unit."""
    unit = metric.shown_unit(scores.distance_unit)
    return f"{metric.label}, {unit}" if unit else metric.label


def mean_with_interval(values: np.ndarray, patients: Sequence[str] | None, decimals: int = 3) -> str:
    """Mean of the finite values, and on a second line its 95 % bootstrap interval, or that there is none."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return NOTHING
    interval = bootstrap_interval(values, patients)
    bounds = " to ".join(number(bound, decimals) for bound in interval) if interval else NO_INTERVAL
    return f"{number(float(defined.mean()), decimals)}\n{bounds}"


def number(value: float, decimals: int = 3) -> str:
    """A number with a fixed number of decimals and thousands separators; a dash for NaN."""
    return f"{value:,.{decimals}f}" if np.isfinite(value) else NOTHING


def _groups(scores: ScoreTable, everything: str, part_name: str) -> list[tuple[str, np.ndarray]]:
    """Name and cases (bool) of the whole test set, and of each part if it has several."""
    parts = np.array(scores.texts("part"))
    kinds = sorted(set(parts))
    groups = [(everything, np.full(len(parts), True))]
    return groups + [(part_name.format(part or "no part"), parts == part) for part in kinds if len(kinds) > 1]


def _means(scores: ScoreTable, metrics: Sequence[Metric], chosen: np.ndarray) -> list[str]:
    """Mean and interval of metrics over the chosen cases."""
    patients = scores.patients()
    members = None if patients is None else list(np.array(patients)[chosen])
    return [mean_with_interval(scores.case_values(m.name)[chosen], members, m.decimals) for m in metrics]


def _counts(statuses: np.ndarray) -> list[str]:
    return [str(int((statuses == status).sum())) for status in (MISSED, INVENTED, ABSENT)]
