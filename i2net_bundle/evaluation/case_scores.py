"""Score one case from its predicted mask and its label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from i2net_bundle.checks.histology import load_mask
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.metrics.class_scores import ClassScores, score_classes
from i2net_bundle.metrics.objects import ObjectScores, find_glands, score_objects
from i2net_bundle.metrics.overlap import confusion_matrix
from i2net_bundle.metrics.registry import Metric


@dataclass(frozen=True)
class CaseScores:
    """Scores of one case.

    Attributes:
        case: name of the case.
        unit: unit of strict distances: "mm", "pixel", or "voxel" if the spacing is unknown.
        confusion: voxels of every pair of true and predicted class (C, C).
        classes: scores of every class except background.
        objects: scores of the glands as objects; None if the label does not separate objects.
        patient: patient of the case, if known.
        part: part of the test set, if known.
    """

    case: str
    unit: str
    confusion: np.ndarray
    classes: list[ClassScores]
    objects: ObjectScores | None = None
    patient: str | None = None
    part: str | None = None

    def value(self, metric: Metric) -> float:
        """Value of a metric for the objects, or its mean over the classes; NaN if it is undefined."""
        if metric.level == "object":
            return math.nan if self.objects is None else float(metric.function(self.objects))
        return finite_mean([scores.metrics[metric.name] for scores in self.classes])


def score_case(
    y_pred: np.ndarray,
    y: np.ndarray,
    num_classes: int,
    spacing: Sequence[float],
    unit: str,
    case: Mapping[str, Any],
    label_ids: np.ndarray | None = None,
    ignore_index: int | None = None,
    pred_ids: np.ndarray | None = None,
) -> CaseScores:
    """Score one case.

    Args:
        y_pred: predicted class indices (H, W) or (H, W, D).
        y: true class indices, same shape.
        num_classes: number of classes, including background.
        spacing: voxel size along each axis.
        unit: unit of the spacing.
        case: name of the case under "case"; also "patient" and "part", if known.
        label_ids: ids of annotated objects (H, W), if any.
        ignore_index: label value whose voxels are not scored.
        pred_ids: ids of predicted objects (H, W); by default the connected parts of the mask, see `find_glands`.

    Raises:
        ValueError: the shapes differ, or a label is not a class index.
    """
    confusion = confusion_matrix(y_pred, y, num_classes, ignore_index)
    y_pred, y = without_ignored(y_pred, y, ignore_index)
    classes = score_classes(y_pred, y, num_classes, spacing, unit)
    objects = None
    if label_ids is not None:
        objects = score_objects(find_glands(y_pred > 0) if pred_ids is None else pred_ids, label_ids)
    known = {key: str(case[key]) for key in ("patient", "part") if case.get(key) is not None}
    return CaseScores(str(case["case"]), unit, confusion, classes, objects, **known)


def without_ignored(y_pred: np.ndarray, y: np.ndarray, ignore_index: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth with background where the truth is to be ignored.

    Args:
        y_pred: predicted class indices.
        y: true class indices, same shape.
        ignore_index: label value whose voxels are not scored; None changes nothing.
    """
    if ignore_index is None:
        return y_pred, y
    return np.where(y == ignore_index, 0, y_pred), np.where(y == ignore_index, 0, y)


def object_ids(label_path: str | Path, options: VolumeOptions | HistologyOptions | None) -> np.ndarray | None:
    """Read the ids of the annotated objects of a histology image (H, W); None if its labels do not separate objects."""
    if isinstance(options, HistologyOptions) and options.label_values == "instances":
        return load_mask(label_path, options)[0]
    return None


def finite_mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of the finite values; NaN if there are none."""
    defined = np.asarray(values, np.float64)
    defined = defined[np.isfinite(defined)]
    return float(defined.mean()) if len(defined) else math.nan
