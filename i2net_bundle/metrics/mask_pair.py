"""The predicted and the true mask of one class, which every metric of a class takes as its input."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from i2net_bundle.metrics.surface import distances_to_mask, surface_distances, surface_voxels

FOUND, MISSED, INVENTED, ABSENT = "found", "missed", "invented", "absent"
"""The class is in both masks; in the truth only; in the prediction only; in neither."""


@dataclass(frozen=True)
class MaskPair:
    """Predicted and true mask of one class in one case, with the quantities that several metrics share.

    Attributes:
        y_pred: predicted mask, bool (H, W) or (H, W, D); may be cropped to a box that contains both masks.
        y: true mask, same shape.
        spacing: voxel size along each axis.
        unit: unit of the spacing: "mm", "pixel", or "voxel" where the spacing is unknown.
        grid: shape of the whole image; default is the shape of the masks.

    Distances are computed when they are first used.
    """

    y_pred: np.ndarray
    y: np.ndarray
    spacing: tuple[float, ...]
    unit: str = "mm"
    grid: tuple[int, ...] | None = None

    @cached_property
    def pred_voxels(self) -> int:
        """Voxels of the prediction."""
        return int(np.count_nonzero(self.y_pred))

    @cached_property
    def label_voxels(self) -> int:
        """Voxels of the truth."""
        return int(np.count_nonzero(self.y))

    @property
    def pred_ml(self) -> float:
        """Volume of the prediction in mL; NaN unless the image is a volume with a spacing in mm."""
        return self.pred_voxels * self._ml_per_voxel

    @property
    def label_ml(self) -> float:
        """Volume of the truth in mL; NaN as for `pred_ml`."""
        return self.label_voxels * self._ml_per_voxel

    @property
    def status(self) -> str:
        """`FOUND`, `MISSED`, `INVENTED` or `ABSENT`."""
        if self.label_voxels:
            return FOUND if self.pred_voxels else MISSED
        return INVENTED if self.pred_voxels else ABSENT

    @property
    def diagonal(self) -> float:
        """Diagonal of the whole image, in the unit of the spacing."""
        return math.hypot(*(size * step for size, step in zip(self.grid or self.y.shape, self.spacing, strict=True)))

    @cached_property
    def voxel_distances(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances between the surfaces in voxels, from the prediction (N,) and from the truth (M,)."""
        return surface_distances(*self._surfaces, [1.0] * self.y.ndim)

    @cached_property
    def distances(self) -> tuple[np.ndarray, np.ndarray]:
        """The same distances in the unit of the spacing."""
        isotropic = all(size == 1 for size in self.spacing)
        return self.voxel_distances if isotropic else surface_distances(*self._surfaces, self.spacing)

    @cached_property
    def mask_distances(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances from every voxel of a mask to the other mask, 0 within it; order and unit as in `distances`."""
        return self._to_masks(np.argwhere(self.y_pred), np.argwhere(self.y))

    @cached_property
    def surface_to_mask_distances(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances from the surface voxels of a mask to the other mask, 0 within it; likewise."""
        return self._to_masks(*self._surfaces)

    def _to_masks(self, of_pred: np.ndarray, of_label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        there = distances_to_mask(of_pred, self.y, self.spacing)
        return there, distances_to_mask(of_label, self.y_pred, self.spacing)

    @cached_property
    def _surfaces(self) -> tuple[np.ndarray, np.ndarray]:
        return surface_voxels(self.y_pred), surface_voxels(self.y)

    @property
    def _ml_per_voxel(self) -> float:
        return math.prod(self.spacing) / 1000 if self.unit == "mm" and self.y.ndim == 3 else math.nan


def mask_pairs(
    y_pred: np.ndarray, y: np.ndarray, num_classes: int, spacing: Sequence[float], unit: str = "mm"
) -> Iterator[MaskPair]:
    """Yield the masks of every class except the background, cropped to the smallest box that contains both.

    Args:
        y_pred: predicted class indices, whole numbers, (H, W) or (H, W, D).
        y: true class indices, same shape.
        num_classes: C, background included.
        spacing: voxel size along each axis.
        unit: unit of the spacing.

    Yields:
        the pairs of the classes 1 to C - 1.
    """
    maps = [labels if np.issubdtype(labels.dtype, np.integer) else labels.astype(np.int32) for labels in (y_pred, y)]
    boxes = [ndimage.find_objects(labels, max_label=num_classes - 1) for labels in maps]
    for index, found in enumerate(zip(*boxes, strict=True), 1):
        box = _union([part for part in found if part is not None], y.ndim)
        masks = [labels[box] == index for labels in maps]
        yield MaskPair(masks[0], masks[1], tuple(spacing), unit, y.shape)


def _union(boxes: Sequence[tuple[slice, ...]], ndim: int) -> tuple[slice, ...]:
    """Smallest box that contains all boxes; an empty box if there are none."""
    if not boxes:
        return (slice(0, 0),) * ndim
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))
