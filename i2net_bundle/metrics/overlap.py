"""Scores of overlap, all read off one table of counts: which class was labelled as which, voxel by voxel."""

from __future__ import annotations

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

_CHUNK = 1 << 22  # voxels counted at a time, so that no copy of a volume in 64 bits is made


def confusion_matrix(
    y_pred: np.ndarray, y: np.ndarray, num_classes: int, ignore_index: int | None = None
) -> np.ndarray:
    """Count the voxels of every pair of true and predicted class.

    Args:
        y_pred: predicted class indices, any shape.
        y: true class indices, the same shape.
        num_classes: C, background included.
        ignore_index: value of ``y`` that counts nowhere.

    Returns:
        (C, C) int64, true class first.

    Raises:
        ValueError: the shapes differ, or a value is no class.

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    if y_pred.shape != y.shape:
        raise ValueError(f"Prediction {y_pred.shape} and label {y.shape} differ in shape.")
    counts = np.zeros(num_classes * num_classes, np.int64)
    for truth, predicted in zip(_chunks(y), _chunks(y_pred), strict=True):
        if ignore_index is not None:
            kept = truth != ignore_index
            truth, predicted = truth[kept], predicted[kept]
        if not truth.size:
            continue
        highest, lowest = max(truth.max(), predicted.max()), min(truth.min(), predicted.min())
        if highest >= num_classes or lowest < 0:
            raise ValueError(f"Labels run from {lowest} to {highest}, beyond the {num_classes} classes.")
        counts += np.bincount(
            truth.astype(np.int64) * num_classes + predicted.astype(np.int64), minlength=num_classes * num_classes
        )
    return counts.reshape(num_classes, num_classes)


def dice(confusion: np.ndarray) -> np.ndarray:
    """Dice = 2 |A ∩ B| / (|A| + |B|) of every class.

    Args:
        confusion: (C, C), see `confusion_matrix`.

    Returns:
        (C,), NaN where a class is neither in the truth nor in the prediction.
    """
    return _ratio(2 * np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))


def intersection_over_union(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union |A ∩ B| / |A ∪ B| of every class, likewise."""
    overlap = np.diag(confusion)
    return _ratio(overlap, confusion.sum(axis=0) + confusion.sum(axis=1) - overlap)


class MeanIoU(CumulativeIterationMetric):
    """Mean over the classes of the intersection over union, counted over all images together (Cityscapes' mIoU).

    Args:
        num_classes: C.
        ignore_index: value of the truth that counts nowhere.
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        super().__init__()
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: object) -> Tensor:
        """Confusion of each image: class indices (B, 1, ...) to (B, C, C)."""
        assert y is not None
        pairs = zip(y_pred.cpu().numpy(), y.cpu().numpy(), strict=True)
        return torch.stack([torch.from_numpy(confusion_matrix(*p, self.num_classes, self.ignore_index)) for p in pairs])

    def aggregate(self) -> Tensor:
        """The mean of `intersection_over_union` over the classes that occur; a scalar, NaN before any image."""
        buffer = self.get_buffer()
        if buffer is None:
            return torch.tensor(float("nan"))
        return torch.from_numpy(intersection_over_union(buffer.sum(dim=0).numpy())).nanmean()


def _chunks(labels: np.ndarray) -> list[np.ndarray]:
    flat = labels.reshape(-1)
    return [flat[start : start + _CHUNK] for start in range(0, max(flat.size, 1), _CHUNK)]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
