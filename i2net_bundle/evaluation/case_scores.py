"""Scores of one case, from a predicted and a true mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from i2net_bundle.checks.histology import load_mask
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.metrics.objects import ObjectScores, find_glands, score_objects
from i2net_bundle.metrics.overlap import confusion_matrix
from i2net_bundle.metrics.protocols import ClassScores, score_classes


@dataclass(frozen=True)
class CaseScores:
    """Scores of one case.

    Attributes:
        case: its name.
        unit: of strict distances: "mm", "pixel", or "voxel" where the spacing is unknown.
        confusion: voxels of every true and predicted class (C, C).
        classes: of every class but the background.
        objects: of its glands, where the truth tells them apart.
        patient: whom it is of, where known.
        part: of the test set, where known.
    """

    case: str
    unit: str
    confusion: np.ndarray
    classes: list[ClassScores]
    objects: ObjectScores | None = None
    patient: str | None = None
    part: str | None = None


def score_case(
    y_pred: np.ndarray,
    y: np.ndarray,
    num_classes: int,
    spacing: Sequence[float],
    unit: str,
    case: Mapping[str, Any],
    label_ids: np.ndarray | None = None,
    ignore_index: int | None = None,
) -> CaseScores:
    """Score one case.

    Args:
        y_pred: predicted class indices (H, W) or (H, W, D).
        y: true class indices, the same shape.
        num_classes: background included.
        spacing: voxel size along each axis.
        unit: of the spacing.
        case: its name under "case", and "patient" and "part" where they are known.
        label_ids: ids of annotated objects (H, W), where there are any.
        ignore_index: value of the truth that counts nowhere.

    Raises:
        ValueError: the shapes differ, or a label is no class.
    """
    confusion = confusion_matrix(y_pred, y, num_classes, ignore_index)
    if ignore_index is not None:
        y_pred, y = (np.where(y == ignore_index, 0, labels) for labels in (y_pred, y))
    classes = score_classes(y_pred, y, confusion, spacing, unit)
    objects = None if label_ids is None else score_objects(find_glands(y_pred > 0), label_ids)
    known = {key: str(case[key]) for key in ("patient", "part") if case.get(key) is not None}
    return CaseScores(str(case["case"]), unit, confusion, classes, objects, **known)


def object_ids(label_path: str | Path, options: VolumeOptions | HistologyOptions | None) -> np.ndarray | None:
    """Ids of a histology image's annotated objects (H, W); None where labels tell no objects apart."""
    if isinstance(options, HistologyOptions) and options.label_values == "instances":
        return load_mask(label_path, options)[0]
    return None
