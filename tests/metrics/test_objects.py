"""Glands as objects, against the definitions computed pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from i2net_bundle.metrics import find_glands, score_objects
from i2net_bundle.metrics.objects import pool


def objects(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = (20, 30)) -> np.ndarray:
    """Ids of rectangles (top, left, bottom, right)."""
    ids = np.zeros(shape, np.int32)
    for number, (top, left, bottom, right) in enumerate(boxes, 1):
        ids[top:bottom, left:right] = number
    return ids


class TestFindGlands:
    def test_holes_belong_to_their_gland(self) -> None:
        ring = objects((2, 2, 18, 18)) > 0
        ring[5:15, 5:15] = False
        assert (find_glands(ring) > 0).sum() == 16 * 16

    def test_filled_holes_equal_scipys(self) -> None:
        for seed in range(5):
            mask = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(600, 90)), 2) > 0
            assert np.array_equal(find_glands(mask, min_area=1) > 0, ndimage.binary_fill_holes(mask))

    def test_small_objects_are_removed(self) -> None:
        mask = objects((0, 0, 10, 20), (15, 0, 18, 3)) > 0  # 200 and 9 pixels
        assert find_glands(mask).max() == 1
        assert find_glands(mask, min_area=9).max() == 2

    def test_pixels_that_share_a_corner_form_one_gland(self) -> None:
        assert find_glands(objects((0, 0, 5, 5), (5, 5, 10, 10)) > 0, min_area=1).max() == 1

    def test_numbers_are_consecutive(self) -> None:
        mask = objects((0, 0, 2, 2), (5, 0, 19, 14), (5, 16, 19, 30)) > 0
        assert np.unique(find_glands(mask, min_area=5)).tolist() == [0, 1, 2]


class TestScoreObjects:
    def test_identical_maps_have_perfect_scores(self) -> None:
        truth = objects((0, 0, 5, 5), (10, 10, 18, 20))
        scores = score_objects(truth * 7, truth)  # any ids
        assert (scores.f1, scores.dice, scores.hausdorff) == (1, 1, 0)

    def test_an_object_must_cover_half_of_its_partner(self) -> None:
        truth = objects((0, 0, 4, 10))  # 40 pixels
        assert score_objects(objects((0, 0, 4, 5)), truth).f1 == 1
        below = objects((0, 0, 4, 5))
        below[0, 0] = 0
        scores = score_objects(below, truth)
        assert (scores.true_positives, scores.false_positives, scores.false_negatives) == (0, 1, 1)

    def test_merged_glands_are_one_hit_and_one_miss(self) -> None:
        truth = objects((0, 0, 10, 10), (0, 12, 10, 20))
        scores = score_objects(objects((0, 0, 10, 20)), truth)
        assert (scores.true_positives, scores.false_positives, scores.false_negatives) == (1, 0, 1)
        # predicted: 200 pixels, partner the first (100): Dice 2·100/300; truths: 2·100/300 and 2·80/280
        assert scores.dice == pytest.approx((200 / 300 + (100 / 180) * 200 / 300 + (80 / 180) * 160 / 280) / 2)

    def test_an_object_without_a_partner_is_measured_to_the_nearest_object(self) -> None:
        truth = objects((0, 0, 1, 1))
        scores = score_objects(objects((0, 5, 1, 6)), truth)
        assert (scores.dice, scores.hausdorff) == (0, 5)

    def test_without_predictions_the_distance_is_the_diagonal(self) -> None:
        truth = objects((0, 0, 5, 5), shape=(30, 40))
        scores = score_objects(np.zeros_like(truth), truth)
        assert (scores.f1, scores.dice, scores.hausdorff) == (0, 0, 50)

    def test_scores_are_undefined_without_objects(self) -> None:
        empty = np.zeros((8, 8), np.int32)
        scores = score_objects(empty, empty)
        assert all(math.isnan(value) for value in (scores.f1, scores.dice, scores.hausdorff))

    def test_maps_of_different_shape_are_refused(self) -> None:
        with pytest.raises(ValueError, match="differ in shape"):
            score_objects(np.zeros((2, 2), int), np.zeros((2, 3), int))

    @pytest.mark.parametrize("seed", range(6))
    def test_scores_equal_the_definitions(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        maps = []
        for _ in range(2):
            tops, lefts = rng.integers(0, 14, 5), rng.integers(0, 22, 5)
            maps.append(
                objects(*[(t, c, t + int(rng.integers(2, 7)), c + 5) for t, c in zip(tops, lefts, strict=True)])
            )
        own, expected = score_objects(*maps), written_out(*maps)
        assert (own.f1, own.dice, own.hausdorff) == pytest.approx(expected)

    def test_pooled_scores_equal_those_of_one_joined_image(self) -> None:
        truths = objects((0, 0, 5, 9), (9, 9, 15, 20)), objects((3, 3, 12, 12))
        preds = objects((0, 0, 5, 5), (9, 12, 15, 20)), objects((3, 5, 12, 12))
        pooled = pool([score_objects(*pair) for pair in zip(preds, truths, strict=True)])
        joined = [np.hstack([a, np.where(b > 0, b + 10, 0)]) for a, b in (preds, truths)]
        expected = score_objects(*joined)
        assert (pooled.f1, pooled.dice, pooled.hausdorff) == pytest.approx(
            (expected.f1, expected.dice, expected.hausdorff)
        )


def written_out(pred: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """F1, object Dice and object Hausdorff distance straight from their definitions."""
    sides = [[ids == value for value in np.unique(ids) if value] for ids in (truth, pred)]
    hits = 0
    taken = set()
    for own in sides[1]:
        overlaps = [(own & other).sum() for other in sides[0]]
        best = int(np.argmax(overlaps))
        if overlaps[best] > 0 and overlaps[best] >= 0.5 * sides[0][best].sum() and best not in taken:
            hits += 1
            taken.add(best)
    f1 = 2 * hits / (len(sides[0]) + len(sides[1]))
    dice = hausdorff = 0.0
    for owns, others in (sides, sides[::-1]):
        total = sum(own.sum() for own in owns)
        for own in owns:
            overlaps = [(own & other).sum() for other in others]
            partner = others[int(np.argmax(overlaps))]
            if max(overlaps):
                dice += own.sum() / total * 2 * (own & partner).sum() / (own.sum() + partner.sum()) / 2
                hausdorff += own.sum() / total * distance(own, partner) / 2
            else:
                hausdorff += own.sum() / total * min(distance(own, other) for other in others) / 2
    return f1, dice, hausdorff


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Hausdorff distance of two sets of pixels, every pixel to every other."""
    a, b = np.argwhere(first), np.argwhere(second)
    apart = np.linalg.norm(a[:, None] - b[None], axis=2)
    return max(apart.min(axis=1).max(), apart.min(axis=0).max())
