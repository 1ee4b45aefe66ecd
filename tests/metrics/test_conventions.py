"""Conventions of the Hausdorff distance on small masks computed by hand, and against the packages that follow them."""

from __future__ import annotations

import math

import medpy.metric.binary as medpy
import numpy as np
import pytest
import surface_distance
from scipy import ndimage
from scipy.spatial.distance import directed_hausdorff

from i2net_bundle.metrics import CONVENTIONS, METRICS, MaskPair
from i2net_bundle.metrics.conventions import BRATS_PENALTY


def square(side: int) -> np.ndarray:
    """A square with two pixels of background around it."""
    return np.pad(np.ones((side, side), bool), 2)


def pair_of(pred: np.ndarray, label: np.ndarray, spacing: float = 1.0) -> MaskPair:
    return MaskPair(pred, label, (spacing,) * label.ndim, "pixel")


def with_tail() -> MaskPair:
    """Truth: 5×5. Prediction: the same with a tail of 1×4 pixels to the right of the middle row."""
    label = np.pad(square(5), ((0, 0), (0, 4)))
    pred = label.copy()
    pred[4, 7:11] = True
    return pair_of(pred, label)


def with_hole() -> MaskPair:
    """Truth: 11×11. Prediction: the same without the pixel in the middle."""
    pred = square(11)
    pred[7, 7] = False
    return pair_of(pred, square(11))


# The tail. Border of the truth, 16 pixels: at 0, except the one where the tail begins, which is inside the prediction
# and at 1. Border of the prediction, 19 pixels: 15 at 0, the tail at 1, 2, 3, 4.
#   pooled: position 0.95·34 = 32.3 of 30 zeros, 1, 1, 2, 3, 4. Larger: 0.95·18 = 17.1 of 15 zeros, 1, 2, 3, 4.
#   All pixels: 25 of the truth at 0; 29 of the prediction, 25 at 0 and the tail. Pooled: 0.95·53 = 50.35 of 50 zeros,
#   1, 2, 3, 4. Larger: 0.95·28 = 26.6 of 25 zeros, 1, 2, 3, 4.
# The hole. Border of the truth: 40 pixels at 0. Border of the prediction: the same and 4 around the hole, at 4 from the
# border of the truth, but inside the truth. The pixel of the hole is at 1 from the prediction.
#   Pooled: 0.95·83 = 78.85 of 80 zeros and four 4. Larger: 0.95·43 = 40.85 of 40 zeros and four 4.
BY_HAND = [  # convention, tail, hole
    ("pooled_mean", 2.3, 0),
    ("pooled_mean_skipped", 2.3, 0),
    ("pooled_mean_373", 2.3, 0),
    ("pooled_median", 2.3, 0),
    ("larger_mean", 3.1, 4),
    ("larger_mean_diagonal", 3.1, 4),
    ("larger_median", 3.1, 4),
    ("hausdorff_mean", 4, 4),
    ("hausdorff_median", 4, 4),
    ("border_to_mask_mean", 3.1, 0),
    ("mask_pooled_mean", 1.35, 0),
    ("mask_larger_mean", 2.6, 0),
    ("mask_hausdorff_mean", 4, 1),
    ("set_pooled", 2.3, 0),
    ("slice_pooled_mean", 2.3, 0),
    ("slice_pooled_mean_skipped", 2.3, 0),
]


@pytest.mark.parametrize(("name", "tail", "hole"), BY_HAND)
def test_distances_match_the_arithmetic(name: str, tail: float, hole: float) -> None:
    assert CONVENTIONS[name].score([[with_tail()]]) == pytest.approx(tail)
    assert CONVENTIONS[name].score([[with_hole()]]) == pytest.approx(hole)


def test_every_convention_is_computed_by_hand_or_compared_with_a_package() -> None:
    compared = {"area_mean", "batch_pooled_mean", "batch_mask_pooled_mean"}
    assert {name for name, *_ in BY_HAND} | compared == CONVENTIONS.keys()


@pytest.mark.parametrize("name", CONVENTIONS)
def test_distances_have_the_unit_of_the_spacing(name: str) -> None:
    pairs = [[with_tail()], [with_hole()]]
    longer = [[pair_of(pair.y_pred, pair.y, 0.62005) for pair in row] for row in pairs]
    assert CONVENTIONS[name].score(longer) == pytest.approx(0.62005 * CONVENTIONS[name].score(pairs))


def test_statistics_over_images() -> None:
    images = [[with_tail()], [with_hole()], [with_hole()]]
    assert CONVENTIONS["pooled_mean"].score(images) == pytest.approx(2.3 / 3)
    assert CONVENTIONS["pooled_median"].score(images) == 0
    assert CONVENTIONS["larger_median"].score(images) == 4
    # tail and hole: 0.95·118 = 112.1 of 110 zeros, 1, 1, 2, 3, 4, 4, 4, 4, 4
    assert CONVENTIONS["set_pooled"].score(images[:2]) == pytest.approx(2.1)


def test_classes_are_averaged_within_an_image_first() -> None:
    empty = pair_of(np.zeros((3, 3), bool), np.ones((3, 3), bool))
    images = [[with_tail(), with_hole()], [with_hole(), empty]]
    assert CONVENTIONS["larger_mean"].score(images) == pytest.approx(((3.1 + 4) / 2 + 4) / 2)
    # of the set: 2.1 as above for the first class, 0 for the second, whose other pair is empty
    assert CONVENTIONS["set_pooled"].score(images) == pytest.approx((2.1 + 0) / 2)


def stack(*rows: list[int]) -> np.ndarray:
    """Images of one row, stacked."""
    return np.array(rows, bool)[:, None]


def test_in_a_stack_the_mask_of_another_image_is_one_pixel_away() -> None:
    # first image: one pixel, predicted 3 pixels beside it; second image: a whole row, predicted
    pred, label = stack([1, 0, 0, 0], [1, 1, 1, 1]), stack([0, 0, 0, 1], [1, 1, 1, 1])
    assert CONVENTIONS["pooled_mean"].score([[pair_of(*maps)] for maps in zip(pred, label, strict=True)]) == 1.5
    # as a stack: 8 zeros of the row, and 1 from each lone pixel; position 0.95·9 = 8.55
    assert CONVENTIONS["batch_pooled_mean"].score([[pair_of(pred, label)]]) == 1
    assert CONVENTIONS["batch_mask_pooled_mean"].score([[pair_of(pred, label)]]) == 1


def test_a_stack_of_one_image_scores_all_pixels() -> None:
    pair = with_tail()
    alone = pair_of(pair.y_pred[None], pair.y[None])
    assert CONVENTIONS["batch_pooled_mean"].score([[alone]]) == CONVENTIONS["mask_pooled_mean"].score([[pair]])


MISSED = pair_of(np.zeros((4, 3), bool), np.ones((4, 3), bool), 2.0)  # 8×6: diagonal 10
INVENTED = pair_of(np.ones((4, 3), bool), np.zeros((4, 3), bool), 2.0)
ABSENT = pair_of(np.zeros((4, 3), bool), np.zeros((4, 3), bool), 2.0)


@pytest.mark.parametrize(
    ("name", "one_empty", "both_empty"),
    [
        ("pooled_mean", 0, 0),
        ("pooled_mean_373", BRATS_PENALTY, 0),
        ("larger_mean_diagonal", 10, None),
        ("area_mean", math.inf, math.inf),
        ("slice_pooled_mean", 0, 0),
        *((name, None, None) for name in ("pooled_mean_skipped", "larger_mean", "hausdorff_mean", "set_pooled")),
        *((name, None, None) for name in ("mask_pooled_mean", "border_to_mask_mean", "batch_pooled_mean")),
    ],
)
def test_rules_for_empty_masks(name: str, one_empty: float | None, both_empty: float | None) -> None:
    convention = CONVENTIONS[name]
    assert [convention.value(pair) for pair in (MISSED, INVENTED, ABSENT)] == [one_empty, one_empty, both_empty]
    assert math.isnan(convention.score([[ABSENT]])) == (both_empty is None)


@pytest.mark.parametrize("name", [name for name, convention in CONVENTIONS.items() if convention.one_empty is None])
def test_pairs_that_are_left_out_change_nothing(name: str) -> None:
    convention = CONVENTIONS[name]
    assert convention.score([[with_tail()], [MISSED]]) == pytest.approx(convention.score([[with_tail()]]))


def random_stack(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two similar stacks of three masks (3, 24, 30)."""
    rng = np.random.default_rng(seed)
    label, noise = (ndimage.gaussian_filter(rng.standard_normal((3, 24, 30)), (0, 3, 3)) for _ in range(2))
    return label + 0.6 * noise > 0.02, label > 0.02


@pytest.mark.parametrize("seed", range(5))
def test_distances_equal_those_of_packages(seed: int) -> None:
    pred, label = random_stack(seed)
    image, batch = [[pair_of(pred[0], label[0])]], [[pair_of(pred, label)]]
    assert CONVENTIONS["pooled_mean"].score(image) == pytest.approx(medpy.hd95(pred[0], label[0]))
    assert CONVENTIONS["hausdorff_mean"].score(image) == pytest.approx(medpy.hd(pred[0], label[0]))
    assert CONVENTIONS["mask_pooled_mean"].score(image) == pytest.approx(medpy.hd95(pred[:1], label[:1]))
    assert CONVENTIONS["batch_pooled_mean"].score(batch) == pytest.approx(medpy.hd95(pred, label))
    assert CONVENTIONS["batch_mask_pooled_mean"].score(batch) == pytest.approx(
        medpy.hd95(pred[:, None], label[:, None])
    )
    points = [np.argwhere(mask) for mask in (pred[0], label[0])]
    farthest = max(directed_hausdorff(*points)[0], directed_hausdorff(*points[::-1])[0])
    assert CONVENTIONS["mask_hausdorff_mean"].score(image) == pytest.approx(farthest)
    spacing = (1.5, 0.7)
    distances = surface_distance.compute_surface_distances(label[0], pred[0], spacing)
    theirs = surface_distance.compute_robust_hausdorff(distances, 95)
    assert CONVENTIONS["area_mean"].score([[MaskPair(pred[0], label[0], spacing)]]) == pytest.approx(theirs)


@pytest.mark.parametrize(
    "pair", [with_tail(), with_hole(), MISSED, INVENTED, ABSENT], ids=["tail", "hole", "missed", "invented", "absent"]
)
@pytest.mark.parametrize(
    ("convention", "metric"), [("pooled_mean", "transunet_hd95"), ("larger_mean_diagonal", "strict_hd95")]
)
def test_the_protocols_are_among_the_conventions(convention: str, metric: str, pair: MaskPair) -> None:
    assert CONVENTIONS[convention].score([[pair]]) == pytest.approx(METRICS[metric].score(pair), nan_ok=True)
