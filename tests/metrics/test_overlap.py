"""Confusion matrix, IoU and Dice against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
import torch

from i2net_bundle.metrics import MeanIoU, confusion_matrix, intersection_over_union, overlap, score_classes

RNG = np.random.default_rng(0)
LABEL, PRED = RNG.integers(0, 5, (2, 30, 40)).astype(np.uint8)


@pytest.mark.parametrize("chunk", [7, 1 << 22], ids=["in chunks", "at once"])
def test_counts_equal_scikit_learns(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "_CHUNK", chunk)
    expected = sklearn.metrics.confusion_matrix(LABEL.ravel(), PRED.ravel(), labels=range(5))
    np.testing.assert_array_equal(confusion_matrix(PRED, LABEL, 5), expected)


def test_iou_and_dice_equal_scikit_learns() -> None:
    counts = confusion_matrix(PRED, LABEL, 6)
    expected = sklearn.metrics.jaccard_score(LABEL.ravel(), PRED.ravel(), average=None)
    np.testing.assert_allclose(intersection_over_union(counts)[:5], expected)
    assert np.isnan(intersection_over_union(counts)[5])
    expected = sklearn.metrics.f1_score(LABEL.ravel(), PRED.ravel(), average=None)
    dice = [scores.metrics["strict_dice"] for scores in score_classes(PRED, LABEL, 6, (1.0, 1.0))]
    np.testing.assert_allclose(dice[:4], expected[1:])
    assert np.isnan(dice[4])


def test_ignored_voxels_are_not_counted() -> None:
    label = LABEL.copy()
    label[:10] = 255
    np.testing.assert_array_equal(confusion_matrix(PRED, label, 5, 255), confusion_matrix(PRED[10:], LABEL[10:], 5))


def test_mean_iou_counts_voxels_over_all_images() -> None:
    metric = MeanIoU(5, ignore_index=255)
    for pred, label in ((PRED[:20], LABEL[:20]), (PRED[20:], LABEL[20:])):
        metric(torch.from_numpy(pred)[None, None], torch.from_numpy(label)[None, None])
    expected = sklearn.metrics.jaccard_score(LABEL.ravel(), PRED.ravel(), average="macro")
    assert metric.aggregate().item() == pytest.approx(expected)
    metric.reset()
    assert metric.aggregate().isnan()


@pytest.mark.parametrize(
    ("pred", "label", "message"),
    [
        (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), r"\(2, 2\) and label \(2, 3\) differ"),
        (np.full((2, 2), 5, np.uint8), np.zeros((2, 2), np.uint8), "range from 0 to 5; the 5 classes are 0 to 4"),
        (np.zeros((2, 2), np.int16), np.full((2, 2), -1, np.int16), "from -1 to 0"),
    ],
    ids=["shape", "beyond", "negative"],
)
def test_shapes_and_values_are_checked(pred: np.ndarray, label: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(pred, label, 5)
