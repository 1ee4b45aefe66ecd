"""Glands as objects: the GlaS challenge's F1, Dice and Hausdorff distance (Sirinukunwattana et al., 2017).

The objects of the truth are its annotated ids. The network labels pixels; `gland_pixel_runs` separates them into
objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from i2net_bundle.metrics.pixel_runs import PixelRuns
from i2net_bundle.metrics.surface import surface_voxels

MIN_AREA_PX = 200
"""Smallest gland, at 0.62 µm per pixel. The smallest whole gland annotated in the training images has 388 pixels."""


def find_glands(mask: np.ndarray, min_area: int = MIN_AREA_PX) -> np.ndarray:
    """Number the glands of a mask, as defined by `gland_pixel_runs`.

    Args:
        mask: bool (H, W).
        min_area: smallest gland, in pixels.

    Returns:
        (H, W) int32: 0 outside, 1 to n in the glands.
    """
    runs, numbers = gland_pixel_runs(PixelRuns.of(mask), min_area)
    return runs.painted(numbers + 1)


def gland_pixel_runs(mask: PixelRuns, min_area: int = MIN_AREA_PX) -> tuple[PixelRuns, np.ndarray]:
    """Glands of a mask, without numbering every pixel.

    Holes are filled, because a gland includes its lumen. Pixels that share an edge or a corner belong to one gland.
    Glands of fewer than ``min_area`` pixels are removed. Touching glands count as one; in the challenge's annotations
    no two glands touch.

    Args:
        mask: pixel runs of the pixels predicted as gland.
        min_area: smallest gland, in pixels.

    Returns:
        pixel runs of the glands, and the number of each run's gland, from 0 in the order of the glands' first pixels.
    """
    filled = mask.filled()
    number = filled.components(corners=True)
    large = np.bincount(number, filled.lengths) >= min_area
    kept = large[number]
    return filled.select(kept), (np.cumsum(large) - 1)[number[kept]]


@dataclass(frozen=True)
class ObjectScores:
    """Counts and sums over the objects of one image, or of several images pooled; see `score_objects` and `pool`.

    Attributes:
        true_positives: predicted objects that cover at least half of the true object they correspond to.
        false_positives: the other predicted objects.
        false_negatives: true objects without a true positive.
        areas: pixels of all true and of all predicted objects.
        dice_parts: Σ area · Dice over the true and over the predicted objects.
        hausdorff_parts: Σ area · Hausdorff distance over the true and over the predicted objects.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    areas: tuple[float, float]
    dice_parts: tuple[float, float]
    hausdorff_parts: tuple[float, float]

    @property
    def f1(self) -> float:
        """F1 = 2 TP / (2 TP + FP + FN); NaN without any object."""
        total = 2 * self.true_positives + self.false_positives + self.false_negatives
        return 2 * self.true_positives / total if total else math.nan

    @property
    def dice(self) -> float:
        """Object Dice ½ (Σ γᵢ Dice(Gᵢ, S(Gᵢ)) + Σ σⱼ Dice(G(Sⱼ), Sⱼ)); γ and σ are each object's share of the area."""
        return self._weighted(self.dice_parts, 0.0)

    @property
    def hausdorff(self) -> float:
        """Object Hausdorff distance, the same sum of Hausdorff distances, in pixels; NaN without any object."""
        return self._weighted(self.hausdorff_parts, math.nan)

    def _weighted(self, parts: tuple[float, float], without: float) -> float:
        if not any(self.areas):
            return math.nan
        shares = [part / area if area else without for part, area in zip(parts, self.areas, strict=True)]
        return float(np.nanmean(shares))


def score_objects(pred_ids: np.ndarray, label_ids: np.ndarray) -> ObjectScores:
    """Compare predicted with annotated objects.

    An object corresponds to the object of the other map with which it shares most pixels. An object without a partner
    has Dice 0; its distance is the distance to the nearest object of the other map, or the image's diagonal if that map
    is empty.

    Args:
        pred_ids: 0 outside, ids of predicted objects (H, W).
        label_ids: 0 outside, ids of annotated objects (H, W).

    Raises:
        ValueError: the shapes differ.
    """
    if pred_ids.shape != label_ids.shape:
        raise ValueError(f"Prediction {pred_ids.shape} and annotation {label_ids.shape} differ in shape.")
    truths, predictions = _Objects(label_ids), _Objects(pred_ids)
    shared = np.zeros((len(truths.areas), len(predictions.areas)), np.int64)
    both = (truths.map > 0) & (predictions.map > 0)
    np.add.at(shared, (truths.map[both] - 1, predictions.map[both] - 1), 1)

    true_positives = 0
    if shared.size:
        partners = shared.argmax(axis=0)
        covered = shared[partners, np.arange(shared.shape[1])]
        true_positives = len(np.unique(partners[(covered > 0) & (2 * covered >= truths.areas[partners])]))
    sides = [(truths, predictions, shared), (predictions, truths, shared.T)]
    sums = [_weighted_sums(*side, diagonal=math.hypot(*label_ids.shape)) for side in sides]
    return ObjectScores(
        true_positives,
        len(predictions.areas) - true_positives,
        len(truths.areas) - true_positives,
        areas=(float(truths.areas.sum()), float(predictions.areas.sum())),
        dice_parts=(sums[0][0], sums[1][0]),
        hausdorff_parts=(sums[0][1], sums[1][1]),
    )


def pool(scores: Sequence[ObjectScores]) -> ObjectScores:
    """Scores of the objects of several images pooled, as the challenge reports them for a test part."""

    def add(name: str) -> tuple[float, float]:
        pairs = [getattr(score, name) for score in scores]
        return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)

    return ObjectScores(
        sum(score.true_positives for score in scores),
        sum(score.false_positives for score in scores),
        sum(score.false_negatives for score in scores),
        areas=add("areas"),
        dice_parts=add("dice_parts"),
        hausdorff_parts=add("hausdorff_parts"),
    )


class _Objects:
    """Objects of a map, renumbered 1 to n, with the pixels of each."""

    def __init__(self, ids: np.ndarray) -> None:
        values, numbers = np.unique(ids, return_inverse=True)
        numbers = numbers.reshape(ids.shape) + (0 if 0 in values else 1)
        self.map = numbers
        self.areas = np.bincount(numbers.ravel())[1:]
        self.boxes = ndimage.find_objects(numbers)
        self._edges: dict[int, np.ndarray] = {}

    def pixels(self, index: int) -> np.ndarray:
        """Pixels (N, 2) of object ``index``, from 0."""
        return np.argwhere(self.map[self.boxes[index]] == index + 1) + self._corner(index)

    def edge(self, index: int) -> np.ndarray:
        """Edge pixels (M, 2) of object ``index``."""
        if index not in self._edges:
            self._edges[index] = surface_voxels(self.map[self.boxes[index]] == index + 1) + self._corner(index)
        return self._edges[index]

    def _corner(self, index: int) -> np.ndarray:
        return np.array([part.start for part in self.boxes[index]])


def _weighted_sums(own: _Objects, other: _Objects, shared: np.ndarray, diagonal: float) -> tuple[float, float]:
    """Σ area · Dice and Σ area · Hausdorff distance over the objects of one map."""
    dice_sum = distance_sum = 0.0
    for index, area in enumerate(own.areas):
        partner = int(shared[index].argmax()) if len(other.areas) else -1
        overlap = int(shared[index, partner]) if partner >= 0 else 0
        if overlap:
            dice_sum += float(area) * 2 * overlap / float(area + other.areas[partner])
            distance = _hausdorff(own, index, other, partner)
        else:
            distances = [_hausdorff(own, index, other, candidate) for candidate in range(len(other.areas))]
            distance = min(distances, default=diagonal)
        distance_sum += float(area) * distance
    return dice_sum, distance_sum


def _hausdorff(first: _Objects, index: int, second: _Objects, partner: int) -> float:
    """Hausdorff distance of two objects' pixels; only pixels outside the other object count, measured to its edge."""
    farthest = 0.0
    for own, number, other, counterpart in ((first, index, second, partner), (second, partner, first, index)):
        pixels = own.pixels(number)
        outside = pixels[other.map[tuple(pixels.T)] != counterpart + 1]
        if len(outside):
            farthest = max(farthest, float(KDTree(other.edge(counterpart)).query(outside)[0].max()))
    return farthest
