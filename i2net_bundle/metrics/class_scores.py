"""Scores of the classes of one case, by every metric of the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from i2net_bundle.metrics.mask_pair import mask_pairs
from i2net_bundle.metrics.registry import metrics_of


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class in one case.

    Attributes:
        status: "found", "missed", "invented" or "absent".
        label_voxels: voxels of the class in the truth.
        pred_voxels: voxels of the class in the prediction.
        label_ml: volume in the truth, in mL; NaN unless the case is a volume with a spacing in mm.
        pred_ml: volume in the prediction, likewise.
        metrics: name of every metric of classes to its value, NaN where it is undefined.
    """

    status: str
    label_voxels: int
    pred_voxels: int
    label_ml: float
    pred_ml: float
    metrics: dict[str, float]


def score_classes(
    y_pred: np.ndarray, y: np.ndarray, num_classes: int, spacing: Sequence[float], unit: str = "mm"
) -> list[ClassScores]:
    """Score every class of one case except the background.

    Label maps are never expanded to one-hot arrays: each class is scored in the box that contains its two masks.

    Args:
        y_pred: predicted class indices, whole numbers, (H, W) or (H, W, D).
        y: true class indices, same shape.
        num_classes: C, background included.
        spacing: voxel size along each axis.
        unit: unit of the spacing: "mm", "pixel", or "voxel" where the spacing is unknown.

    Returns:
        scores of the classes 1 to C - 1.
    """
    return [
        ClassScores(
            status=pair.status,
            label_voxels=pair.label_voxels,
            pred_voxels=pair.pred_voxels,
            label_ml=pair.label_ml,
            pred_ml=pair.pred_ml,
            metrics={metric.name: metric.score(pair) for metric in metrics_of("class")},
        )
        for pair in mask_pairs(y_pred, y, num_classes, spacing, unit)
    ]
