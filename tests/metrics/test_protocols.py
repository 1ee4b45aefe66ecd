"""Scores of small masks, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from i2net_bundle.metrics import ClassScores, confusion_matrix, score_classes


def line(*labels: int) -> np.ndarray:
    """Voxels in a row, a volume of (N, 1, 1)."""
    return np.array(labels, np.uint8).reshape(-1, 1, 1)


def score(pred: np.ndarray, label: np.ndarray, spacing: tuple[float, ...], unit: str = "mm") -> ClassScores:
    return score_classes(pred, label, confusion_matrix(pred, label, 2), spacing, unit)[0]


def test_a_row_of_voxels() -> None:
    # truth 0 1 1 1 1 0, prediction 0 1 1 0 0 0; all voxels are surface. Dice 2·2 / (2 + 4)
    # prediction to truth: 0, 0; truth to prediction: 0, 0, 1, 2 voxels of 3 mm
    own = score(line(0, 1, 1, 0, 0, 0), line(0, 1, 1, 1, 1, 0), (3.0, 1.0, 1.0))
    assert own.strict_dice == own.transunet_dice == pytest.approx(2 / 3)
    assert own.strict_hd95 == pytest.approx(3 * (1 + 0.85))  # position 0.95·3 = 2.85 of 0, 0, 1, 2
    assert own.transunet_hd95 == pytest.approx(1.75)  # position 0.95·5 = 4.75 of 0, 0, 0, 0, 1, 2
    assert (own.label_voxels, own.pred_voxels) == (4, 2)
    assert own.label_ml == pytest.approx(0.012)  # 4 voxels of 3 mm³
    assert own.volume_difference_ml == pytest.approx(-0.006)


def test_identical_masks_are_faultless() -> None:
    mask = line(0, 1, 1, 0)
    own = score(mask, mask, (1.0, 2.0, 3.0))
    assert (own.strict_dice, own.strict_hd95, own.strict_surface_dice) == (1, 0, 1)
    assert (own.transunet_dice, own.transunet_hd95, own.volume_difference_ml) == (1, 0, 0)


RULES = [  # prediction, label, status, strict Dice, strict HD95 in diagonals, TransUNet's pair
    pytest.param((0, 0), (0, 1), "missed", 0.0, 1.0, (0, 0), id="missed"),
    pytest.param((0, 1), (0, 0), "invented", 0.0, 1.0, (1, 0), id="invented"),
    pytest.param((0, 0), (0, 0), "absent", math.nan, math.nan, (0, 0), id="absent"),
    pytest.param((0, 1), (0, 1), "found", 1.0, 0.0, (1, 0), id="found"),
]


@pytest.mark.parametrize(("pred", "label", "status", "dice", "diagonals", "transunet"), RULES)
def test_rules_where_a_mask_is_empty(
    pred: tuple[int, ...],
    label: tuple[int, ...],
    status: str,
    dice: float,
    diagonals: float,
    transunet: tuple[int, int],
) -> None:
    own = score(line(*pred), line(*label), (6.0, 3.0, 4.0))  # a volume of 12 × 3 × 4 mm: diagonal 13 mm
    assert own.status == status
    assert own.strict_dice == pytest.approx(dice, nan_ok=True)
    assert own.strict_surface_dice == pytest.approx(dice, nan_ok=True)
    assert own.strict_hd95 == pytest.approx(13 * diagonals, nan_ok=True)
    assert (own.transunet_dice, own.transunet_hd95) == transunet


@pytest.mark.parametrize("unit", ["voxel", "pixel"])
def test_without_mm_there_are_no_volumes_and_no_surface_dice(unit: str) -> None:
    own = score(line(0, 1), line(1, 1), (1.0, 1.0, 1.0), unit)
    assert math.isnan(own.strict_surface_dice) and math.isnan(own.label_ml) and math.isnan(own.volume_difference_ml)
    assert own.strict_hd95 == pytest.approx(0.95)  # of 0 and 1


def test_scores_do_not_hang_on_what_lies_around() -> None:
    rng = np.random.default_rng(0)
    pred, label = (rng.random((2, 9, 8, 7)) > 0.6).astype(np.uint8)
    small = score(pred, label, (1.0, 2.0, 3.0))
    large = score(*(np.pad(mask, ((5, 2), (0, 7), (3, 3))) for mask in (pred, label)), (1.0, 2.0, 3.0))
    assert vars(small) == vars(large)


def test_axes_may_be_permuted_and_flipped() -> None:
    rng = np.random.default_rng(1)
    pred, label = (rng.random((2, 9, 8, 7)) > 0.6).astype(np.uint8)
    straight = vars(score(pred, label, (1.0, 2.0, 3.0)))
    turned = [mask.transpose(2, 0, 1)[:, ::-1] for mask in (pred, label)]
    assert vars(score(*turned, (3.0, 1.0, 2.0))) == pytest.approx(straight)
