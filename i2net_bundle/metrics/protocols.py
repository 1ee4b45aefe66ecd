"""The two protocols, side by side: which rule made a figure is in its name.

``transunet`` is what TransUNet's test code computes and the papers after it report: Dice and medpy's HD95, the 95th
percentile of both directions pooled, in voxels whatever their size (though printed as mm). A class that is predicted
but absent scores (1, 0), one that is missed or absent from both (0, 0), and all are averaged: a missed organ improves
the mean HD95.

``strict`` is what MONAI's ``DiceMetric`` and ``HausdorffDistanceMetric(percentile=95)`` compute, in mm, with surface
Dice; but a missed or an invented class, which they leave undefined and so out of the mean, scores Dice 0, surface Dice
0 and the diagonal of the volume. A class absent from both is undefined and counted apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from i2net_bundle.metrics.overlap import dice
from i2net_bundle.metrics.surface import (
    directed_hausdorff,
    pooled_hausdorff,
    surface_dice,
    surface_distances,
    surface_voxels,
)

FOUND, MISSED, INVENTED, ABSENT = "found", "missed", "invented", "absent"
"""A class is in truth and prediction; in the truth alone; in the prediction alone; in neither."""
SURFACE_TOLERANCE_MM = 2.0


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class in one case; NaN where a figure is not defined.

    Attributes:
        status: "found", "missed", "invented" or "absent".
        label_voxels: voxels of the class in the truth.
        pred_voxels: voxels of the class in the prediction.
        label_ml: the truth's volume, with a spacing in mm only.
        pred_ml: the prediction's volume, likewise.
        volume_difference_ml: predicted minus true volume, likewise.
        strict_dice: Dice.
        strict_hd95: larger of the two directed 95th percentiles, in the unit of the spacing.
        strict_surface_dice: share of the surfaces within the tolerance of each other; with a spacing in mm only.
        transunet_dice: Dice by TransUNet's rules.
        transunet_hd95: pooled 95th percentile, in voxels, by TransUNet's rules.
    """

    status: str
    label_voxels: int
    pred_voxels: int
    label_ml: float
    pred_ml: float
    volume_difference_ml: float
    strict_dice: float
    strict_hd95: float
    strict_surface_dice: float
    transunet_dice: float
    transunet_hd95: float


def score_classes(
    y_pred: np.ndarray, y: np.ndarray, confusion: np.ndarray, spacing: Sequence[float], unit: str = "mm"
) -> list[ClassScores]:
    """Score every class but the background of one case under both protocols.

    Label maps are never expanded: counts come from one pass over both, distances from the part of the volume around
    each class.

    Args:
        y_pred: predicted class indices (H, W) or (H, W, D), whole numbers.
        y: true class indices, the same shape.
        confusion: (C, C), of the two, background included; see `confusion_matrix`.
        spacing: voxel size along each axis.
        unit: of the spacing: "mm", "pixel", or "voxel" where it is unknown.

    Returns:
        scores of the classes 1 to C - 1.
    """
    num_classes = len(confusion)
    overlaps = dice(confusion)
    label_voxels, pred_voxels = confusion.sum(axis=1), confusion.sum(axis=0)
    boxes = [ndimage.find_objects(_integers(labels), max_label=num_classes - 1) for labels in (y_pred, y)]
    diagonal = math.hypot(*(size * step for size, step in zip(y.shape, spacing, strict=True)))
    ml_per_voxel = math.prod(spacing) / 1000 if unit == "mm" and y.ndim == 3 else math.nan
    scores = []
    for index in range(1, num_classes):
        counts = int(label_voxels[index]), int(pred_voxels[index])
        status = _status(*counts)
        values: dict[str, Any] = {"strict_dice": float(overlaps[index]), "transunet_dice": float(overlaps[index])}
        if status == FOUND:
            box = _union(boxes[0][index - 1], boxes[1][index - 1])
            values |= _distances(y_pred[box] == index, y[box] == index, spacing)
        else:
            values |= {"strict_hd95": math.nan if status == ABSENT else diagonal} | _WITHOUT_OVERLAP[status]
        if unit != "mm":
            values["strict_surface_dice"] = math.nan
        elif status == FOUND:
            values["strict_surface_dice"] = surface_dice(
                y_pred[box] == index, y[box] == index, spacing, SURFACE_TOLERANCE_MM
            )
        volumes = [count * ml_per_voxel for count in counts]
        values |= dict(zip(("label_ml", "pred_ml"), volumes, strict=True))
        scores.append(ClassScores(status, *counts, volume_difference_ml=volumes[1] - volumes[0], **values))
    return scores


_WITHOUT_OVERLAP: dict[str, dict[str, float]] = {
    MISSED: {"strict_surface_dice": 0.0, "transunet_dice": 0.0, "transunet_hd95": 0.0},
    INVENTED: {"strict_surface_dice": 0.0, "transunet_dice": 1.0, "transunet_hd95": 0.0},
    ABSENT: {"strict_surface_dice": math.nan, "transunet_dice": 0.0, "transunet_hd95": 0.0},
}


def _status(label_voxels: int, pred_voxels: int) -> str:
    if label_voxels and pred_voxels:
        return FOUND
    if label_voxels:
        return MISSED
    return INVENTED if pred_voxels else ABSENT


def _distances(y_pred: np.ndarray, y: np.ndarray, spacing: Sequence[float]) -> dict[str, float]:
    surfaces = surface_voxels(y_pred), surface_voxels(y)
    in_voxels = surface_distances(*surfaces, [1.0] * y.ndim)
    in_units = in_voxels if all(size == 1 for size in spacing) else surface_distances(*surfaces, spacing)
    return {"strict_hd95": directed_hausdorff(*in_units), "transunet_hd95": pooled_hausdorff(*in_voxels)}


def _union(first: tuple[slice, ...], second: tuple[slice, ...]) -> tuple[slice, ...]:
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))


def _integers(labels: np.ndarray) -> np.ndarray:
    return labels if np.issubdtype(labels.dtype, np.integer) else labels.astype(np.int32)
