"""Scores of small masks, computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from i2net_bundle.metrics import METRICS, ClassScores, Metric, register, score_classes


def line(*labels: int) -> np.ndarray:
    """A row of voxels: a volume (N, 1, 1)."""
    return np.array(labels, np.uint8).reshape(-1, 1, 1)


def score(pred: np.ndarray, label: np.ndarray, spacing: tuple[float, ...], unit: str = "mm") -> ClassScores:
    return score_classes(pred, label, 2, spacing, unit)[0]


def test_a_row_of_voxels_matches_the_arithmetic() -> None:
    # truth 0 1 1 1 1 0, prediction 0 1 1 0 0 0; all voxels are surface. Dice 2·2 / (2 + 4)
    # prediction to truth: 0, 0; truth to prediction: 0, 0, 1, 2 voxels of 3 mm
    own = score(line(0, 1, 1, 0, 0, 0), line(0, 1, 1, 1, 1, 0), (3.0, 1.0, 1.0))
    assert own.metrics["strict_dice"] == own.metrics["transunet_dice"] == pytest.approx(2 / 3)
    assert own.metrics["strict_hd95"] == pytest.approx(3 * (1 + 0.85))  # position 0.95·3 = 2.85 of 0, 0, 1, 2
    assert own.metrics["transunet_hd95"] == pytest.approx(1.75)  # position 0.95·5 = 4.75 of 0, 0, 0, 0, 1, 2
    assert (own.label_voxels, own.pred_voxels) == (4, 2)
    assert own.label_ml == pytest.approx(0.012)  # 4 voxels of 3 mm³
    assert own.metrics["volume_difference_ml"] == pytest.approx(-0.006)


def test_identical_masks_have_perfect_scores() -> None:
    mask = line(0, 1, 1, 0)
    own = score(mask, mask, (1.0, 2.0, 3.0))
    assert (own.metrics["strict_dice"], own.metrics["strict_hd95"], own.metrics["strict_surface_dice"]) == (1, 0, 1)
    assert (own.metrics["transunet_dice"], own.metrics["transunet_hd95"], own.metrics["volume_difference_ml"]) == (
        1,
        0,
        0,
    )


RULES = [  # prediction, label, status, strict Dice, strict HD95 in diagonals, TransUNet's pair
    pytest.param((0, 0), (0, 1), "missed", 0.0, 1.0, (0, 0), id="missed"),
    pytest.param((0, 1), (0, 0), "invented", 0.0, 1.0, (1, 0), id="invented"),
    pytest.param((0, 0), (0, 0), "absent", math.nan, math.nan, (0, 0), id="absent"),
    pytest.param((0, 1), (0, 1), "found", 1.0, 0.0, (1, 0), id="found"),
]


@pytest.mark.parametrize(("pred", "label", "status", "dice", "diagonals", "transunet"), RULES)
def test_rules_for_empty_masks(
    pred: tuple[int, ...],
    label: tuple[int, ...],
    status: str,
    dice: float,
    diagonals: float,
    transunet: tuple[int, int],
) -> None:
    own = score(line(*pred), line(*label), (6.0, 3.0, 4.0))  # a volume of 12 × 3 × 4 mm: diagonal 13 mm
    assert own.status == status
    assert own.metrics["strict_dice"] == pytest.approx(dice, nan_ok=True)
    assert own.metrics["strict_surface_dice"] == pytest.approx(dice, nan_ok=True)
    assert own.metrics["strict_hd95"] == pytest.approx(13 * diagonals, nan_ok=True)
    assert (own.metrics["transunet_dice"], own.metrics["transunet_hd95"]) == transunet


@pytest.mark.parametrize("unit", ["voxel", "pixel"])
def test_without_mm_there_are_no_volumes_and_no_surface_dice(unit: str) -> None:
    own = score(line(0, 1), line(1, 1), (1.0, 1.0, 1.0), unit)
    assert (
        math.isnan(own.metrics["strict_surface_dice"])
        and math.isnan(own.label_ml)
        and math.isnan(own.metrics["volume_difference_ml"])
    )
    assert own.metrics["strict_hd95"] == pytest.approx(0.95)  # of 0 and 1


def test_scores_do_not_depend_on_the_surrounding_background() -> None:
    rng = np.random.default_rng(0)
    pred, label = (rng.random((2, 9, 8, 7)) > 0.6).astype(np.uint8)
    small = score(pred, label, (1.0, 2.0, 3.0))
    large = score(*(np.pad(mask, ((5, 2), (0, 7), (3, 3))) for mask in (pred, label)), (1.0, 2.0, 3.0))
    assert small == large


def test_scores_are_invariant_to_permuted_and_flipped_axes() -> None:
    rng = np.random.default_rng(1)
    pred, label = (rng.random((2, 9, 8, 7)) > 0.6).astype(np.uint8)
    straight = score(pred, label, (1.0, 2.0, 3.0)).metrics
    turned = [mask.transpose(2, 0, 1)[:, ::-1] for mask in (pred, label)]
    assert score(*turned, (3.0, 1.0, 2.0)).metrics == pytest.approx(straight)


def test_the_name_of_a_metric_is_unique() -> None:
    with pytest.raises(ValueError, match="'strict_dice' already exists"):
        register(METRICS["strict_dice"])


def test_a_metric_names_a_known_protocol() -> None:
    with pytest.raises(ValueError, match=r"no protocol 'mine'\. Known: strict, transunet, size, object"):
        Metric("x", float, "x", "mine")
