"""Confusion matrix of two label maps, and intersection over union derived from it."""

from __future__ import annotations

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

_CHUNK = 1 << 22  # voxels counted at a time, to avoid a 64-bit copy of a whole volume


def confusion_matrix(
    y_pred: np.ndarray, y: np.ndarray, num_classes: int, ignore_index: int | None = None
) -> np.ndarray:
    """Number of voxels for every pair of true and predicted class.

    Args:
        y_pred: predicted class indices, any shape.
        y: true class indices, same shape.
        num_classes: C, background included.
        ignore_index: value of ``y`` whose voxels are not counted.

    Returns:
        (C, C) int64: true class along the first axis, predicted class along the second.

    Raises:
        ValueError: the shapes differ, or a value is not a class index.

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
            raise ValueError(
                f"Labels range from {lowest} to {highest}; the {num_classes} classes are 0 to {num_classes - 1}."
            )
        counts += np.bincount(
            truth.astype(np.int64) * num_classes + predicted.astype(np.int64), minlength=num_classes * num_classes
        )
    return counts.reshape(num_classes, num_classes)


def intersection_over_union(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union |A ∩ B| / |A ∪ B| of every class.

    Args:
        confusion: (C, C), see `confusion_matrix`.

    Returns:
        (C,), NaN for a class that is in neither mask.
    """
    shared = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - shared
    return np.divide(shared, union, out=np.full(len(shared), np.nan), where=union > 0)


class MeanIoU(CumulativeIterationMetric):
    """Mean intersection over union of the classes, with voxels counted over all images together (Cityscapes' mIoU).

    Args:
        num_classes: C.
        ignore_index: value of the truth whose voxels are not counted.
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        super().__init__()
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: object) -> Tensor:
        """Confusion matrix of each image: class indices (B, 1, ...) to (B, C, C)."""
        assert y is not None
        pairs = zip(y_pred.cpu().numpy(), y.cpu().numpy(), strict=True)
        return torch.stack([torch.from_numpy(confusion_matrix(*p, self.num_classes, self.ignore_index)) for p in pairs])

    def aggregate(self) -> Tensor:
        """Mean of `intersection_over_union` over the classes that occur, a scalar; NaN before the first image."""
        buffer = self.get_buffer()
        if buffer is None:
            return torch.tensor(float("nan"))
        return torch.from_numpy(intersection_over_union(buffer.sum(dim=0).numpy())).nanmean()


def _chunks(labels: np.ndarray) -> list[np.ndarray]:
    flat = labels.reshape(-1)
    return [flat[start : start + _CHUNK] for start in range(0, max(flat.size, 1), _CHUNK)]
