"""Conventions of the Hausdorff distance in public code, under which the same masks have very different "HD95".

Papers rarely say which convention, which unit and which image size their figure has. The registry scores masks under
each of them (`i2net evaluate --conventions`). The conventions differ in

- the points: border pixels, border pixels against whole masks, or all pixels of the masks;
- the percentile: of both directions pooled, or the larger of the two directed ones; 95, or 100 (the plain distance);
- the masks that one distance is measured on: an image, a slice of a volume, or a batch of images as one volume;
- the statistic over images: mean, median, or one percentile of all distances of the set;
- the value of empty masks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from i2net_bundle.metrics.mask_pair import ABSENT, FOUND, MaskPair
from i2net_bundle.metrics.registry import DIAGONAL, strict_hd95
from i2net_bundle.metrics.surface import area_hausdorff, directed_hausdorff, pooled_hausdorff

BRATS_PENALTY = 373.13
"""Diagonal of a BraTS volume, 240×240×155 voxels of 1 mm³; it stands in code for other data too."""

Rows = Sequence[Sequence[Any]]
"""Values of a convention: a row per image (slice, batch), a column per class; None is left out."""


@dataclass(frozen=True)
class Convention:
    """A rule by which public code turns the masks of a data set into one distance.

    Attributes:
        name: key in tables.
        rule: what is computed, in words.
        source: public code that computes it.
        measure: function of a pair of masks, neither of them empty; the result has the unit of the pair's spacing.
        combine: function of the measured values of all pairs.
        scope: what a pair of masks contains: an image or volume, a slice of a volume, or a batch of images, stacked
            along a first axis.
        one_empty: value if exactly one mask is empty; None leaves the pair out.
        both_empty: value if both masks are empty, likewise.
    """

    name: str
    rule: str
    source: str
    measure: Callable[[MaskPair], Any]
    combine: Callable[[Rows], float]
    scope: Literal["image", "slice", "batch"] = "image"
    one_empty: float | Literal["diagonal"] | None = None
    both_empty: float | None = None

    def value(self, pair: MaskPair) -> Any:
        """Measured value of a pair of masks, or that of empty masks; None if the pair is left out."""
        if pair.status == FOUND:
            return self.measure(pair)
        value = self.both_empty if pair.status == ABSENT else self.one_empty
        return pair.diagonal if value == DIAGONAL else value

    def score(self, pairs: Sequence[Sequence[MaskPair]]) -> float:
        """Distance of a data set; NaN if every pair is left out.

        Args:
            pairs: the masks of every image, or slice, or batch: a pair per class.
        """
        return self.combine([[self.value(pair) for pair in of_classes] for of_classes in pairs])


def surface_pooled(pair: MaskPair) -> float:
    """95th percentile of the surface distances of both directions pooled."""
    return pooled_hausdorff(*pair.distances)


def surface_hausdorff(pair: MaskPair) -> float:
    """The plain Hausdorff distance: the largest surface distance."""
    return directed_hausdorff(*pair.distances, percentile=100)


def surface_area_weighted(pair: MaskPair) -> float:
    """The larger of the two directed 95th percentiles of surface elements, weighted by area."""
    return area_hausdorff(pair.y_pred, pair.y, pair.spacing)


def surface_distances_of(pair: MaskPair) -> tuple[np.ndarray, np.ndarray]:
    """The surface distances of both directions themselves."""
    return pair.distances


def surface_to_mask(pair: MaskPair) -> float:
    """The larger of the two directed 95th percentiles of the distances from surface voxels to the other mask."""
    return directed_hausdorff(*pair.surface_to_mask_distances)


def mask_pooled(pair: MaskPair) -> float:
    """95th percentile of the distances from all voxels of each mask to the other mask, both directions pooled."""
    return pooled_hausdorff(*pair.mask_distances)


def mask_larger(pair: MaskPair) -> float:
    """The larger of the two directed 95th percentiles of the distances from all voxels of a mask to the other mask."""
    return directed_hausdorff(*pair.mask_distances)


def mask_hausdorff(pair: MaskPair) -> float:
    """The largest distance from a voxel of either mask to the other mask."""
    return directed_hausdorff(*pair.mask_distances, percentile=100)


def over_images(statistic: Callable[[Sequence[float]], Any], rows: Rows) -> float:
    """Statistic over images of the mean over the classes of each; NaN without a value.

    Args:
        statistic: such as ``np.mean``.
        rows: distances.
    """
    defined = [[value for value in row if value is not None] for row in rows]
    values = [math.fsum(row) / len(row) for row in defined if row]
    return float(statistic(values)) if values else math.nan


def over_set(percentile: float, rows: Rows) -> float:
    """Percentile of the distances of all images and both directions pooled, averaged over the classes; NaN without any.

    Args:
        percentile: 0 to 100.
        rows: distances from the predictions (N,) and from the truths (M,).
    """
    columns = [[pair for pair in column if pair is not None] for column in zip(*rows, strict=True)]
    joined = [[np.concatenate(side) for side in zip(*pairs, strict=True)] for pairs in columns if pairs]
    pooled = [pooled_hausdorff(there, back, percentile) for there, back in joined]
    return math.fsum(pooled) / len(pooled) if pooled else math.nan


mean_over_images: Callable[[Rows], float] = partial(over_images, np.mean)
median_over_images: Callable[[Rows], float] = partial(over_images, np.median)

_POOLED = "95th percentile of the border distances of both directions pooled"
_LARGER = "larger of the two directed 95th percentiles of border distances"
_MEDPY = "medpy's hd95"

CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention(
            "pooled_mean",
            f"{_POOLED}, mean over images; an empty mask scores 0",
            f"{_MEDPY} in TransUNet's test code and the many that follow it",
            surface_pooled,
            mean_over_images,
            one_empty=0.0,
            both_empty=0.0,
        ),
        Convention(
            "pooled_mean_skipped",
            f"{_POOLED}, mean over images; images with an empty mask are left out",
            f"{_MEDPY} behind a test for empty masks, as in nnU-Net's first version",
            surface_pooled,
            mean_over_images,
        ),
        Convention(
            "pooled_mean_373",
            f"{_POOLED}, mean over images; one empty mask scores {BRATS_PENALTY}, two score 0",
            f"{_MEDPY} in code for BraTS, and in code for other data that took the constant over",
            surface_pooled,
            mean_over_images,
            one_empty=BRATS_PENALTY,
            both_empty=0.0,
        ),
        Convention(
            "pooled_median",
            f"{_POOLED}, median over images; images with an empty mask are left out",
            f"{_MEDPY}, with the median reported in place of the mean",
            surface_pooled,
            median_over_images,
        ),
        Convention(
            "larger_mean",
            f"{_LARGER}, mean over images; images with an empty mask are left out",
            "MONAI's HausdorffDistanceMetric(percentile=95)",
            strict_hd95,
            mean_over_images,
        ),
        Convention(
            "larger_mean_diagonal",
            f"{_LARGER}, mean over images; one empty mask scores the diagonal of the image, two are left out",
            "the strict protocol of this bundle",
            strict_hd95,
            mean_over_images,
            one_empty=DIAGONAL,
        ),
        Convention(
            "larger_median",
            f"{_LARGER}, median over images; images with an empty mask are left out",
            "MONAI's metric, with the median reported in place of the mean",
            strict_hd95,
            median_over_images,
        ),
        Convention(
            "area_mean",
            "larger of the two directed 95th percentiles of pieces of border weighted by length or area, mean over "
            "images; an empty mask scores infinity",
            "compute_robust_hausdorff of DeepMind's surface-distance",
            surface_area_weighted,
            mean_over_images,
            one_empty=math.inf,
            both_empty=math.inf,
        ),
        Convention(
            "hausdorff_mean",
            "largest border distance (100 %), mean over images; images with an empty mask are left out",
            "medpy's hd, MONAI's HausdorffDistanceMetric() and SimpleITK's HausdorffDistance",
            surface_hausdorff,
            mean_over_images,
        ),
        Convention(
            "hausdorff_median",
            "largest border distance (100 %), median over images; images with an empty mask are left out",
            "the same, with the median reported in place of the mean",
            surface_hausdorff,
            median_over_images,
        ),
        Convention(
            "border_to_mask_mean",
            "larger of the two directed 95th percentiles of the distances from border pixels to the other mask, 0 "
            "within it, mean over images; images with an empty mask are left out",
            "distance maps of whole masks that are read at border pixels",
            surface_to_mask,
            mean_over_images,
        ),
        Convention(
            "mask_pooled_mean",
            "95th percentile of the distances from all pixels of each mask to the other mask, 0 within it, both "
            "directions pooled, mean over images; images with an empty mask are left out",
            f"distance maps of whole masks that are read at all pixels; {_MEDPY} of arrays with an axis of length 1, "
            "such as (1, H, W), where every pixel counts as border",
            mask_pooled,
            mean_over_images,
        ),
        Convention(
            "mask_larger_mean",
            "larger of the two directed 95th percentiles of the same distances, mean over images; images with an empty "
            "mask are left out",
            "distance maps of whole masks that are read at all pixels",
            mask_larger,
            mean_over_images,
        ),
        Convention(
            "mask_hausdorff_mean",
            "largest of the same distances (100 %), mean over images; images with an empty mask are left out",
            "SciPy's directed_hausdorff of the masks' pixels",
            mask_hausdorff,
            mean_over_images,
        ),
        Convention(
            "set_pooled",
            "95th percentile of the border distances of all images and both directions pooled",
            "code that collects the distances of a whole set first",
            surface_distances_of,
            partial(over_set, 95),
        ),
        Convention(
            "slice_pooled_mean",
            f"{_POOLED} in every slice, mean over slices; an empty mask scores 0",
            "2D test loops over the slices of volumes",
            surface_pooled,
            mean_over_images,
            scope="slice",
            one_empty=0.0,
            both_empty=0.0,
        ),
        Convention(
            "slice_pooled_mean_skipped",
            f"{_POOLED} in every slice, mean over slices; slices with an empty mask are left out",
            "2D test loops that pass over empty slices",
            surface_pooled,
            mean_over_images,
            scope="slice",
        ),
        Convention(
            "batch_pooled_mean",
            f"{_POOLED}, of a batch of images stacked as one volume with a step of one pixel, mean over batches",
            f"{_MEDPY} of a whole batch, (B, H, W)",
            surface_pooled,
            mean_over_images,
            scope="batch",
        ),
        Convention(
            "batch_mask_pooled_mean",
            "95th percentile of the distances from all pixels of each stacked batch to the other, both directions "
            "pooled, mean over batches",
            f"{_MEDPY} of a whole batch with its channel axis, (B, 1, H, W), where every pixel counts as border",
            mask_pooled,
            mean_over_images,
            scope="batch",
        ),
    )
}
"""All conventions by name, in the order of the table."""
