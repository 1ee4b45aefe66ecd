"""Glands as instances: from the mask and the map that separates glands to one number per gland.

Every connected part of the mask is divided by itself, so the result for a gland is the same in a small image and in a
slide whose map was assembled from tiles, and memory grows with the largest part only.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type
from scipy import ndimage
from skimage.morphology import disk
from skimage.segmentation import watershed

from i2net_bundle.metrics.objects import MIN_AREA_PX
from i2net_bundle.metrics.pixel_runs import PixelRuns
from i2net_bundle.transforms.separation_targets import SEPARATIONS, separates

INSTANCES = "instances"
"""Key of the instance ids (1, H, W) of an item, beside its mask."""
_CORNERS = np.ones((3, 3), bool)
_NOT_THIN = disk(2)
"""Markers are as wide as this, which removes rims of the mask beyond a contour, and bridges between markers."""

Box = tuple[slice, slice]


@dataclass(frozen=True)
class GlandSeparator:
    """Divide the mask of glands into glands by a watershed from markers.

    Markers are the connected parts of the mask where the map is low, for contours, or high, for distances and markers,
    without what is narrower than 5 pixels, their holes filled. Where a part of the mask has none, it is one gland. Then
    the holes of each gland are filled, as it includes its lumen, and small ones are removed.

    Args:
        separation: what the map shows, see `i2net_bundle.transforms.separation_targets`.
        threshold: value of the map, from 0 to 1, that bounds the markers.
        min_marker: smallest marker, in pixels.
        min_area: smallest gland, in pixels.

    Raises:
        ValueError: there is no such separation, or a value is out of range.
    """

    separation: str
    threshold: float = 0.5
    min_marker: int = 30
    min_area: int = MIN_AREA_PX

    def __post_init__(self) -> None:
        if self.separation not in SEPARATIONS:
            raise ValueError(f"separation is '{self.separation}'; pass one of: {', '.join(SEPARATIONS)}.")
        if not 0 < self.threshold < 1:
            raise ValueError(f"separator::threshold must be between 0 and 1, got {self.threshold}.")
        for name in ("min_marker", "min_area"):
            if getattr(self, name) < 0:
                raise ValueError(f"separator::{name} must be 0 pixels or more, got {getattr(self, name)}.")

    def __call__(self, mask: np.ndarray, separation: np.ndarray) -> np.ndarray:
        """Number the glands.

        Args:
            mask: 0 outside glands (H, W).
            separation: the map, sigmoid of the network's last channel (H, W).

        Returns:
            (H, W), int32: 0 outside, 1 to n in the glands, in the order of their parts' first pixels.

        Raises:
            ValueError: the shapes differ.
        """
        if mask.shape != separation.shape:
            raise ValueError(f"Mask {mask.shape} and map {separation.shape} differ in shape.")
        ids = np.zeros(mask.shape, np.int32)
        count = 0
        for box, part in parts_of(mask):  # a part that surrounds another one comes first
            if ids[box][part].all():  # in the lumen of a gland
                continue
            glands = self._divided(part, separation[box].astype(np.float32))
            inside = glands > 0
            ids[box][inside] = glands[inside] + count
            count += int(glands.max(initial=0))
        return ids

    def _divided(self, part: np.ndarray, separation: np.ndarray) -> np.ndarray:
        """Glands (h, w), 1 to n, of one connected part of the mask."""
        relief = separation if self.separation == "contour" else 1 - separation
        bound = self.threshold if self.separation == "contour" else 1 - self.threshold
        filled = ndimage.binary_fill_holes(part)
        cores = PixelRuns.of(ndimage.binary_opening(part & (relief < bound), _NOT_THIN)).filled()
        number = cores.components(corners=False)
        kept = np.bincount(number, cores.lengths) >= self.min_marker
        markers = cores.painted(np.where(kept, np.cumsum(kept), 0)[number])
        several = int(kept.sum()) > 1
        glands = watershed(relief, markers, _CORNERS, mask=part | (markers > 0)) if several else filled.astype(np.int32)
        return _whole(glands, self.min_area)


def gland_separator(separation: str, **settings: Any) -> GlandSeparator | None:
    """Return the separator for what a network predicts; None if it does not separate glands.

    Args:
        separation: one of `SEPARATIONS`, or "none".
        settings: see `GlandSeparator`.
    """
    return GlandSeparator(separation, **settings) if separates(separation) else None


def parts_of(mask: np.ndarray) -> Iterator[tuple[Box, np.ndarray]]:
    """Yield the connected parts of a mask (H, W), pixels at corners included: the box of each, and the part in it."""
    runs = PixelRuns.of(mask)
    number = runs.components(corners=True)
    row, col = np.divmod(runs.starts, runs.stride)
    order = np.argsort(number, kind="stable")
    for which in np.split(order, np.flatnonzero(np.diff(number[order])) + 1) if len(order) else []:
        rows, first, last = row[which], col[which], col[which] + runs.lengths[which]
        top, left = int(rows.min()), int(first.min())
        box = (slice(top, int(rows.max()) + 1), slice(left, int(last.max())))
        part = np.zeros((box[0].stop - top, box[1].stop - left), bool)
        for at, start, stop in zip(rows - top, first - left, last - left, strict=True):
            part[at, start:stop] = True
        yield box, part


def _whole(glands: np.ndarray, min_area: int) -> np.ndarray:
    """Fill holes, remove small glands, and renumber the rest from 1."""
    whole = np.zeros_like(glands)
    found = [(int(index), box) for index, box in enumerate(ndimage.find_objects(glands), 1) if box is not None]
    filled = [(index, box, ndimage.binary_fill_holes(glands[box] == index)) for index, box in found]
    for index, box, gland in sorted(filled, key=lambda item: int(item[2].sum())):  # a gland takes what lies in its hole
        if gland.sum() >= min_area:
            whole[box][gland] = index
    left = np.unique(whole[whole > 0])
    numbers = np.zeros(int(glands.max(initial=0)) + 1, np.int32)
    numbers[left] = np.arange(1, len(left) + 1)
    return numbers[whole]


class SeparateGlandsd(MapTransform):
    """Split the maps that a network's output became into the mask and the instances of glands.

    Maps (1, H, W) of networks that do not separate glands are unchanged.

    Args:
        keys: maps (2, H, W): class index and separation map. They become the mask (1, H, W), uint8.
        separator: divides the mask; the instances (1, H, W), int32, are then added under "instances".
    """

    def __init__(self, keys: KeysCollection = "pred", separator: GlandSeparator | None = None) -> None:
        super().__init__(keys)
        self.separator = separator

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with the mask in place of the maps, and the instances."""
        split = dict(data)
        for key in self.key_iterator(split):
            maps = split[key]
            if len(maps) < 2 or maps.ndim != 3:
                continue
            split[key] = maps[:1].to(torch.uint8)
            if self.separator is not None:
                mask, separation = np.asarray(maps.cpu())
                ids = torch.from_numpy(self.separator(mask, separation))[None]
                split[INSTANCES] = convert_to_dst_type(ids, split[key], dtype=torch.int32)[0]
        return split
