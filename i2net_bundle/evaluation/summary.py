"""Summarize the scores of all cases: ``metrics.csv``, ``summary.json`` and a table for the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import i2net_bundle
from i2net_bundle.evaluation.case_scores import CaseScores, finite_mean
from i2net_bundle.io.counted import counted
from i2net_bundle.io.text_tables import padded
from i2net_bundle.io.writing import file_sha256, write_rows, written_whole
from i2net_bundle.metrics.mask_pair import ABSENT, INVENTED, MISSED
from i2net_bundle.metrics.objects import pool
from i2net_bundle.metrics.overlap import intersection_over_union
from i2net_bundle.metrics.registry import METRICS, PROTOCOLS, Metric, metrics_of
from i2net_bundle.metrics.uncertainty import FEWEST, bootstrap_interval

METRICS_NAME, PARTIAL_NAME, SUMMARY_NAME = "metrics.csv", "metrics_partial.csv", "summary.json"
_AMOUNTS = ("label_voxels", "pred_voxels", "label_ml", "pred_ml")
_DIGITS = 10
"""Significant digits in files. Further digits depend on the order of sums, and so on the order of a file's axes."""


def mean_scores(cases: Sequence[CaseScores]) -> dict[str, float]:
    """Mean of every metric over the classes of each case, then over the cases; undefined values are left out."""
    means = {name: finite_mean([case.value(metric) for case in cases]) for name, metric in METRICS.items()}
    return {name: value for name, value in means.items() if not math.isnan(value)}


def summarize(
    cases: Sequence[CaseScores],
    class_names: Sequence[str],
    weights: Path | None = None,
    data_set: str | None = None,
) -> dict[str, Any]:
    """Compute the content of ``summary.json``.

    Every metric has a mean, standard deviation, median, 95 % bootstrap interval of the mean, and number of values. The
    bootstrap resamples patients if every case names its patient, otherwise cases. With too few of them, the interval is
    None, see `bootstrap_interval`.

    Args:
        cases: scores of every case.
        class_names: names of the classes, background first.
        weights: weights file of the predictions.
        data_set: name of the data set, if it has one.
    """
    parts = sorted({case.part for case in cases if case.part is not None})
    mean = _mean_statistics(cases)
    protocols = {metric.protocol for name, metric in METRICS.items() if name in mean}
    return {
        "data_set": data_set,
        "cases": len(cases),
        "resampled": "patients" if _patients(cases) else "cases",
        "distance_unit": " and ".join(sorted({case.unit for case in cases})),
        "protocols": {name: protocol.rule for name, protocol in PROTOCOLS.items() if name in protocols},
        "mean": mean,
        "classes": {
            name: _class_statistics(cases, index) | _class_counts(cases, index)
            for index, name in enumerate(class_names[1:])
        },
        "iou": _pooled_iou(cases, class_names),
        "parts": {part: _mean_statistics([case for case in cases if case.part == part]) for part in parts},
        "weights": {"file": weights.name, "sha256": file_sha256(weights)} if weights is not None else None,
        "versions": {
            "i2net_bundle": i2net_bundle.__version__,
            "torch": torch.__version__,
            **{name: version(name) for name in ("monai", "numpy", "scipy")},
        },
    }


def write_tables(
    output_dir: Path, cases: Sequence[CaseScores], class_names: Sequence[str], summary: dict[str, Any]
) -> None:
    """Write ``metrics.csv``, one row per case and class, and ``summary.json``.

    Args:
        output_dir: folder of both files; created if missing.
        cases: scores of every case.
        class_names: names of the classes, background first.
        summary: result of `summarize`.
    """
    write_metrics(output_dir / METRICS_NAME, cases, class_names)
    with written_whole(output_dir / SUMMARY_NAME) as temporary:
        text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def write_metrics(path: Path, cases: Sequence[CaseScores], class_names: Sequence[str]) -> None:
    """Write a table with one row per case and class."""
    write_rows(path, [row for case in cases for row in _rows(case, class_names)])


def table(summary: dict[str, Any]) -> str:
    """Format ``summary.json`` as aligned text: a line per class, the mean, its confidence interval, and the mIoU."""
    metrics = [metric for name, metric in METRICS.items() if name in summary["mean"]]
    counts = [MISSED, INVENTED, ABSENT]
    rows = [["class", *(_with_unit(metric, summary["distance_unit"]) for metric in metrics), *counts]]
    for name, scores in summary["classes"].items():
        rows.append([name, *(_shown(metric, scores) for metric in metrics), *(str(scores[key]) for key in counts)])
    means = summary["mean"]
    totals = [str(sum(scores[key] for scores in summary["classes"].values())) for key in counts]
    rows.append(
        [f"mean of {counted(summary['cases'], 'case')}", *(_shown(metric, means) for metric in metrics), *totals]
    )
    rows.append([f"95 % interval ({summary['resampled']})", *(_interval(metric, means) for metric in metrics)])
    for part, scores in summary["parts"].items() if len(summary["parts"]) > 1 else ():
        rows.append([f"mean of {part}", *(_shown(metric, scores) for metric in metrics)])
    lines = ["  ".join(cells) for cells in padded(rows)]
    if any(means[metric.name]["ci95"] is None for metric in metrics):
        lines.append(f"An interval needs at least {FEWEST} {summary['resampled']} with a value.")
    if summary["iou"]["mean"] is not None:
        of_classes = ", ".join(
            f"{name} {'-' if value is None else f'{value:.3f}'}" for name, value in summary["iou"]["classes"].items()
        )
        lines.append(f"mIoU over all cases together: {summary['iou']['mean']:.3f} ({of_classes})")
    return "\n".join(lines)


def _rows(case: CaseScores, class_names: Sequence[str]) -> Iterable[dict[str, Any]]:
    known = {key: value for key, value in (("patient", case.patient), ("part", case.part)) if value is not None}
    of_objects = metrics_of("object") if case.objects else []
    for name, scores in zip(class_names[1:], case.classes, strict=True):
        yield {
            "case": case.case,
            **known,
            "class": name,
            "status": scores.status,
            **{metric: _cell(value) for metric, value in scores.metrics.items()},
            **{metric.name: _cell(case.value(metric)) for metric in of_objects},
            "distance_unit": case.unit,
            **{amount: _cell(getattr(scores, amount)) for amount in _AMOUNTS},
        }


def _mean_statistics(cases: Sequence[CaseScores]) -> dict[str, Any]:
    """Statistics over cases of the mean over the classes, of the objects, and of all objects pooled."""
    values = {name: np.array([case.value(metric) for case in cases]) for name, metric in METRICS.items()}
    statistics = _defined_statistics(values, cases)
    objects = [case.objects for case in cases if case.objects is not None]
    if objects:
        pooled = pool(objects)
        statistics["objects_pooled"] = {
            **{
                metric.name.removeprefix("object_"): _rounded(metric.function(pooled))
                for metric in metrics_of("object")
            },
            "true_positives": pooled.true_positives,
            "false_positives": pooled.false_positives,
            "false_negatives": pooled.false_negatives,
        }
    return statistics


def _class_statistics(cases: Sequence[CaseScores], index: int) -> dict[str, Any]:
    names = [metric.name for metric in metrics_of("class")]
    return _defined_statistics(
        {name: np.array([case.classes[index].metrics[name] for case in cases]) for name in names}, cases
    )


def _defined_statistics(values: dict[str, np.ndarray], cases: Sequence[CaseScores]) -> dict[str, Any]:
    """Statistics of every metric that is defined in at least one case."""
    patients = _patients(cases)
    return {name: _statistics(numbers, patients) for name, numbers in values.items() if np.isfinite(numbers).any()}


def _class_counts(cases: Sequence[CaseScores], index: int) -> dict[str, int]:
    statuses = [case.classes[index].status for case in cases]
    return {status: statuses.count(status) for status in (MISSED, INVENTED, ABSENT)}


def _pooled_iou(cases: Sequence[CaseScores], class_names: Sequence[str]) -> dict[str, Any]:
    """Intersection over union of every class, including background, over all cases together, and the mean (mIoU)."""
    values = intersection_over_union(np.sum([case.confusion for case in cases], axis=0))
    classes = {name: _rounded(value) for name, value in zip(class_names, values, strict=True)}
    return {"mean": _rounded(finite_mean(values)), "classes": classes}


def _statistics(values: np.ndarray, patients: Sequence[str] | None) -> dict[str, Any]:
    defined = values[np.isfinite(values)]
    interval = bootstrap_interval(values, patients)
    return {
        "mean": _rounded(defined.mean()),
        "sd": _rounded(defined.std(ddof=1)) if len(defined) > 1 else None,
        "median": _rounded(np.median(defined)),
        "ci95": [_rounded(bound) for bound in interval] if interval else None,
        "n": len(defined),
    }


def _patients(cases: Sequence[CaseScores]) -> list[str] | None:
    """Patients of all cases; None if one is unknown."""
    patients = [case.patient for case in cases]
    return None if None in patients else [str(patient) for patient in patients]


def _cell(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.{_DIGITS}g}" if math.isfinite(value) else ""


def _rounded(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _with_unit(metric: Metric, distance_unit: str) -> str:
    unit = metric.shown_unit(distance_unit)
    return metric.name if not unit or metric.name.endswith(f"_{unit.lower()}") else f"{metric.name}, {unit}"


def _shown(metric: Metric, statistics: dict[str, Any]) -> str:
    found = statistics.get(metric.name)
    return f"{found['mean']:.{metric.decimals}f}" if found else "-"


def _interval(metric: Metric, statistics: dict[str, Any]) -> str:
    bounds = statistics[metric.name]["ci95"]
    return " to ".join(f"{bound:.{metric.decimals}f}" for bound in bounds) if bounds else "none"
