"""Scores of cases as tables: ``metrics.csv``, ``summary.json`` and the terminal's."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import i2net_bundle
from i2net_bundle.evaluation.case_scores import CaseScores
from i2net_bundle.io.writing import file_sha256, write_rows, written_whole
from i2net_bundle.metrics.objects import pool
from i2net_bundle.metrics.overlap import intersection_over_union
from i2net_bundle.metrics.protocols import ABSENT, INVENTED, MISSED, SURFACE_TOLERANCE_MM
from i2net_bundle.metrics.uncertainty import bootstrap_interval

CLASS_METRICS = (
    "strict_dice",
    "strict_hd95",
    "strict_surface_dice",
    "transunet_dice",
    "transunet_hd95",
    "volume_difference_ml",
)
OBJECT_METRICS = ("object_f1", "object_dice", "object_hausdorff")
PROTOCOLS = {
    "strict": "MONAI's Dice and HD95 (larger directed 95th percentile) in distance_unit, surface Dice at "
    f"{SURFACE_TOLERANCE_MM:g} mm; a missed or invented class scores 0 and the volume's diagonal; one in neither is "
    "left out",
    "transunet": "TransUNet's Dice and HD95 (medpy, both directions pooled) in voxels; a missed class scores (0, 0), "
    "an invented one (1, 0), one in neither (0, 0)",
    "object": "GlaS challenge: F1, Dice and Hausdorff distance in pixels of glands as objects",
}
_AMOUNTS = ("label_voxels", "pred_voxels", "label_ml", "pred_ml")
_DIGITS = 10


def mean_scores(cases: Sequence[CaseScores]) -> dict[str, float]:
    """Mean of every metric over each case's classes, then over cases, undefined values left out."""
    means = {name: _nanmean(_case_means(cases, name)) for name in CLASS_METRICS}
    means |= {name: _nanmean(_object_values(cases, name)) for name in OBJECT_METRICS}
    return {name: value for name, value in means.items() if not math.isnan(value)}


def summarize(cases: Sequence[CaseScores], class_names: Sequence[str], weights: Path | None = None) -> dict[str, Any]:
    """Content of ``summary.json``.

    Every metric comes as mean, standard deviation, median and the 95 % bootstrap interval of the mean, which resamples
    patients where all cases name theirs, else cases, together with the number of values.

    Args:
        cases: scores of every case.
        class_names: background first.
        weights: file that made the predictions.
    """
    parts = sorted({case.part for case in cases if case.part is not None})
    return {
        "cases": len(cases),
        "resampled": "patients" if _patients(cases) else "cases",
        "distance_unit": " and ".join(sorted({case.unit for case in cases})),
        "protocols": {name: text for name, text in PROTOCOLS.items() if name != "object" or _has_objects(cases)},
        "mean": _mean_statistics(cases),
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
    """Write ``metrics.csv``, a row per case and class, and ``summary.json``.

    Args:
        output_dir: folder of the two; made if need be.
        cases: scores of every case.
        class_names: background first.
        summary: see `summarize`.
    """
    write_rows(output_dir / "metrics.csv", [row for case in cases for row in _rows(case, class_names)])
    with written_whole(output_dir / "summary.json") as temporary:
        text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def table(summary: dict[str, Any]) -> str:
    """The scores of ``summary.json`` as aligned text: a line per class, their mean and its confidence interval."""
    metrics = [name for name in (*CLASS_METRICS, *OBJECT_METRICS) if name in summary["mean"]]
    counts = [MISSED, INVENTED, ABSENT]
    rows = [["class", *metrics, *counts]]
    for name, scores in summary["classes"].items():
        rows.append([name, *(_shown(scores.get(metric)) for metric in metrics), *(str(scores[key]) for key in counts)])
    totals = [str(sum(scores[key] for scores in summary["classes"].values())) for key in counts]
    means = summary["mean"]
    rows.append([f"mean of {summary['cases']} cases", *(_shown(means[metric]) for metric in metrics), *totals])
    rows.append([f"95 % interval ({summary['resampled']})", *(_interval(means[metric]) for metric in metrics)])
    for part, scores in summary["parts"].items() if len(summary["parts"]) > 1 else ():
        rows.append([f"mean of {part}", *(_shown(scores.get(metric)) for metric in metrics)])
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(len(rows[0]))]
    lines = [
        "  ".join(f"{cell:<{width}}" if not column else f"{cell:>{width}}" for column, (cell, width) in cells)
        for cells in (list(enumerate(zip(row, widths, strict=False))) for row in rows)
    ]
    return "\n".join([*lines, f"strict distances in {summary['distance_unit']}, transunet's in voxels or pixels"])


def _rows(case: CaseScores, class_names: Sequence[str]) -> Iterable[dict[str, Any]]:
    known = {key: value for key, value in (("patient", case.patient), ("part", case.part)) if value is not None}
    objects = {name: _cell(_object_value(case, name)) for name in OBJECT_METRICS} if case.objects else {}
    for name, scores in zip(class_names[1:], case.classes, strict=True):
        values = asdict(scores)
        yield {
            "case": case.case,
            **known,
            "class": name,
            "status": scores.status,
            **{metric: _cell(values[metric]) for metric in CLASS_METRICS},
            **objects,
            "distance_unit": case.unit,
            **{amount: _cell(values[amount]) for amount in _AMOUNTS},
        }


def _mean_statistics(cases: Sequence[CaseScores]) -> dict[str, Any]:
    """Statistics over cases of the mean over each case's classes, and of objects, also of all of them pooled."""
    patients = _patients(cases)
    values = {name: _case_means(cases, name) for name in CLASS_METRICS}
    values |= {name: _object_values(cases, name) for name in OBJECT_METRICS}
    statistics: dict[str, Any] = {
        name: _statistics(numbers, patients) for name, numbers in values.items() if np.isfinite(numbers).any()
    }
    if _has_objects(cases):
        pooled = pool([case.objects for case in cases if case.objects is not None])
        statistics["objects_pooled"] = {
            "f1": _rounded(pooled.f1),
            "dice": _rounded(pooled.dice),
            "hausdorff": _rounded(pooled.hausdorff),
            "true_positives": pooled.true_positives,
            "false_positives": pooled.false_positives,
            "false_negatives": pooled.false_negatives,
        }
    return statistics


def _class_statistics(cases: Sequence[CaseScores], index: int) -> dict[str, Any]:
    patients = _patients(cases)
    values = {name: np.array([getattr(case.classes[index], name) for case in cases]) for name in CLASS_METRICS}
    return {name: _statistics(numbers, patients) for name, numbers in values.items() if np.isfinite(numbers).any()}


def _class_counts(cases: Sequence[CaseScores], index: int) -> dict[str, int]:
    statuses = [case.classes[index].status for case in cases]
    return {status: statuses.count(status) for status in (MISSED, INVENTED, ABSENT)}


def _pooled_iou(cases: Sequence[CaseScores], class_names: Sequence[str]) -> dict[str, Any]:
    """Intersection over union of every class over all cases together, background included, and their mean (mIoU)."""
    values = intersection_over_union(np.sum([case.confusion for case in cases], axis=0))
    classes = {name: _rounded(value) for name, value in zip(class_names, values, strict=True)}
    return {"mean": _rounded(_nanmean(values)), "classes": classes}


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
    patients = [case.patient for case in cases]
    return None if None in patients else [str(patient) for patient in patients]


def _has_objects(cases: Sequence[CaseScores]) -> bool:
    return any(case.objects is not None for case in cases)


def _case_means(cases: Sequence[CaseScores], metric: str) -> np.ndarray:
    return np.array([_nanmean(np.array([getattr(scores, metric) for scores in case.classes])) for case in cases])


def _object_values(cases: Sequence[CaseScores], metric: str) -> np.ndarray:
    return np.array([_object_value(case, metric) for case in cases])


def _object_value(case: CaseScores, metric: str) -> float:
    return math.nan if case.objects is None else getattr(case.objects, metric.removeprefix("object_"))


def _nanmean(values: np.ndarray) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else math.nan


def _cell(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.{_DIGITS}g}" if math.isfinite(value) else ""


def _rounded(value: float) -> float | None:
    """To ten digits: the last ones depend on the order of sums, hence on how a file's axes run."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _shown(statistics: dict[str, Any] | None) -> str:
    return "-" if not statistics else _number(statistics["mean"])


def _interval(statistics: dict[str, Any]) -> str:
    return "-" if not statistics["ci95"] else " to ".join(_number(bound) for bound in statistics["ci95"])


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
