"""Training targets that separate glands: what a network predicts beside the class, computed from instance ids.

The targets are computed on the augmented patch, so their widths are in the pixels that the network sees. The patch's
border is no border of a gland, so a gland that it cuts off has nearly the same target as a whole one.

- ``contour``: 1 within `CONTOUR_PX` of a border between a gland and anything else, on both sides (after Chen et al.,
  DCAN, CVPR 2016).
- ``distance``: depth below the gland's border, in units of `DEPTH_PX` and at most 1; 0 outside glands.
- ``marker``: 1 in the core of a gland, deeper than `DEPTH_PX`, or than half of its greatest depth if that is less.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from scipy import ndimage
from skimage.morphology import disk

from i2net_bundle.transforms.preprocessing import LABEL

NO_SEPARATION = "none"
SEPARATIONS = ("contour", "distance", "marker")
"""What a network can predict to separate glands, in the channel behind its classes."""
CONTOUR_PX = 3
DEPTH_PX = 10
"""Less than the smallest annotated glands' radius, at 0.62 µm per pixel."""


def separates(separation: str) -> bool:
    """Whether a network predicts a separation map.

    Args:
        separation: one of `SEPARATIONS`, or "none".

    Raises:
        ValueError: it is neither.
    """
    if separation not in (NO_SEPARATION, *SEPARATIONS):
        raise ValueError(f"separation is '{separation}'; pass one of: {NO_SEPARATION}, {', '.join(SEPARATIONS)}.")
    return separation != NO_SEPARATION


def separation_target(ids: np.ndarray, separation: str) -> np.ndarray:
    """Compute the target that separates glands.

    Args:
        ids: 0 outside, ids of the glands (H, W).
        separation: one of `SEPARATIONS`.

    Returns:
        (H, W), float32, from 0 to 1.
    """
    if separation == "contour":
        around = disk(CONTOUR_PX)
        highest, lowest = (find(ids, footprint=around) for find in (ndimage.maximum_filter, ndimage.minimum_filter))
        target: np.ndarray = (highest != lowest).astype(np.float32)
        return target
    depth = instance_depth(ids)
    if separation == "distance":
        return np.minimum(depth / DEPTH_PX, 1).astype(np.float32)
    if separation == "marker":
        own, numbers = np.unique(ids, return_inverse=True)
        deepest = np.asarray(ndimage.maximum(depth, numbers.reshape(ids.shape), np.arange(len(own))))
        least = np.minimum(DEPTH_PX, deepest / 2)[numbers.reshape(ids.shape)]
        return ((ids > 0) & (depth > least)).astype(np.float32)
    raise ValueError(f"There is no separation '{separation}'. Pass one of: {', '.join(SEPARATIONS)}.")


def instance_depth(ids: np.ndarray) -> np.ndarray:
    """Distance of every pixel of an instance to the nearest pixel outside it, in pixels; 0 outside instances.

    The image's border is no border of an instance. Where instances touch, it is the distance to the nearest pixel at
    their border, plus 1.

    Args:
        ids: 0 outside, ids of the instances (H, W).
    """
    inside = ids > 0
    at_border = np.zeros(ids.shape, bool)
    for first, second in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        meets = (ids[first] != ids[second]) & inside[first] & inside[second]
        at_border[first] |= meets
        at_border[second] |= meets
    depth = np.full(ids.shape, float(max(ids.shape)))  # of an instance without a border
    if not inside.all():
        depth = ndimage.distance_transform_edt(inside)
    if at_border.any():
        depth = np.minimum(depth, (ndimage.distance_transform_edt(~at_border) + 1) * inside)
    return depth


class SeparationTargetd(Transform):
    """Replace the instance ids of a training patch by the network's target: class and separation map.

    Args:
        separation: one of `SEPARATIONS`.
    """

    def __init__(self, separation: str) -> None:
        separates(separation)
        self.separation = separation

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with "label", ids (1, H, W), as target (2, H, W), float32."""
        ids = np.asarray(data[LABEL])[0]
        target = np.stack([ids > 0, separation_target(ids, self.separation)])
        return {**data, LABEL: torch.from_numpy(target.astype(np.float32))}
