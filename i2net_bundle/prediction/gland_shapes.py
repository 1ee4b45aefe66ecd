"""Measure every gland of an image: size, shape, and how much of it is lumen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.measure import regionprops

from i2net_bundle.metrics.pixel_runs import PixelRuns

Read = Callable[[slice, slice], np.ndarray]

LUMEN_DENSITY = 0.12
"""Mean optical density of red, green and blue below which tissue is pale; epithelium and stroma are denser."""
_SMOOTHING_PX = 1.5
_SMALLEST_LUMEN_PX = 50


@dataclass(frozen=True)
class GlandShape:
    """Measurements of one gland.

    Attributes:
        id: its number in the instances.
        x: column of its centre, in pixels; the centre of the first pixel is 0.5.
        y: row of its centre, likewise.
        area_px: its pixels, including the lumen.
        perimeter_px: length of its outline, estimated by Crofton's formula in four directions.
        eccentricity: that of the ellipse with the same second moments, 0 for a circle and towards 1 for a line.
        solidity: its share of its convex hull.
        lumen_share: share of it that is pale, see `lumen_of`.
        touches_border: whether the image's border cuts it off.
    """

    id: int
    x: float
    y: float
    area_px: int
    perimeter_px: float
    eccentricity: float
    solidity: float
    lumen_share: float
    touches_border: bool

    def row(self, um_per_px: float | None = None) -> dict[str, Any]:
        """The measurements by name, with area and perimeter in micrometers if their size is known."""
        row = dict(vars(self))
        if um_per_px is not None:
            row["area_um2"] = round(self.area_px * um_per_px**2, 1)
            row["perimeter_um"] = round(self.perimeter_px * um_per_px, 1)
        return row


def gland_shapes(ids: np.ndarray, read: Read) -> list[GlandShape]:
    """Measure the glands of an image.

    Args:
        ids: 0 outside, 1 to n in the glands (H, W).
        read: returns the pixels (h, w, 3), uint8, of rows and columns of the image.

    Returns:
        the glands in the order of their ids.
    """
    shapes = []
    for region in regionprops(ids):
        rows, cols = region.slice
        lumen = lumen_of(read(rows, cols), region.image)
        at_border = rows.start == 0 or cols.start == 0 or rows.stop == ids.shape[0] or cols.stop == ids.shape[1]
        shapes.append(
            GlandShape(
                id=int(region.label),
                x=round(float(region.centroid[1]) + 0.5, 1),
                y=round(float(region.centroid[0]) + 0.5, 1),
                area_px=int(region.area),
                perimeter_px=round(float(region.perimeter_crofton), 1),
                eccentricity=round(float(region.eccentricity), 4),
                solidity=round(float(region.solidity), 4),
                lumen_share=round(int(lumen.sum()) / int(region.area), 4),
                touches_border=at_border,
            )
        )
    return shapes


def lumen_of(pixels: np.ndarray, gland: np.ndarray) -> np.ndarray:
    """Find the pale parts of a gland in an image stained with haematoxylin and eosin: lumen, and mucus like it.

    The optical density -log10((I + 1) / 256), averaged over the colours and smoothed by a Gaussian of 1.5 pixels, is
    below `LUMEN_DENSITY` there. Parts of fewer than 50 pixels are left out.

    Args:
        pixels: RGB (h, w, 3), uint8.
        gland: pixels of the gland (h, w).

    Returns:
        bool (h, w).
    """
    density = -np.log10((pixels.astype(np.float32) + 1) / 256).mean(axis=-1)
    pale = PixelRuns.of((ndimage.gaussian_filter(density, _SMOOTHING_PX) < LUMEN_DENSITY) & gland)
    number = pale.components(corners=False)
    large = np.bincount(number, pale.lengths) >= _SMALLEST_LUMEN_PX
    lumen: np.ndarray = pale.painted(large[number]) > 0
    return lumen


def instance_statistics(
    mask: np.ndarray, shapes: Sequence[GlandShape], um_per_px: float | None = None
) -> dict[str, Any]:
    """Statistics of the glands of an image, as `i2net_bundle.prediction.statistics.gland_statistics` returns them.

    Args:
        mask: 0 and 1, (H, W).
        shapes: its glands.
        um_per_px: micrometers per pixel, if known.

    Returns:
        the same keys, and of each gland ``perimeter_px``, ``eccentricity``, ``solidity`` and ``lumen_share``.
    """
    rows = [shape.row(um_per_px) for shape in shapes]
    names = ["area_px", *([] if um_per_px is None else ["area_um2"])]
    names += ["perimeter_px", "eccentricity", "solidity", "lumen_share"]
    return {
        "count": len(rows),
        **({} if um_per_px is None else {"um_per_px": um_per_px}),
        **{name: [row[name] for row in rows] for name in names},
        "share": round(int(np.count_nonzero(mask)) / mask.size, 6),
        "touching_border": sum(shape.touches_border for shape in shapes),
    }
