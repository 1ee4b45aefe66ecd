"""Contours enclose the centres of exactly the mask's pixels, whatever its holes and pieces."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import polygon2mask
from skimage.measure import euler_number

from i2net_bundle.io.dicom.contours import closed_contours


def noise(density: float) -> np.ndarray:
    return np.random.default_rng(0).random((40, 50)) < density


def ring_in_ring() -> np.ndarray:
    """Two squares without their inside, one within the other."""
    mask = np.zeros((12, 13), bool)
    mask[1:11, 1:12] = True
    mask[2:10, 2:11] = False
    mask[4:8, 4:9] = True
    mask[5:7, 5:8] = False
    return mask


def hooked_holes() -> np.ndarray:
    """Two holes like hooks, each of which reaches above a part of the other."""
    mask = np.ones((9, 11), bool)
    mask[2, 1:6] = mask[2:7, 1] = mask[6, 1:4] = False
    mask[4, 3:9] = mask[4:8, 8] = False
    return mask


MASKS = {
    "one pixel": np.ones((1, 1), bool),
    "touching corners": np.eye(4, dtype=bool),
    "up to the border": np.ones((3, 4), bool),
    "ring in ring": ring_in_ring(),
    "hooked holes": hooked_holes(),
    **{f"noise {density}": noise(density) for density in (0.1, 0.5, 0.7, 0.9)},
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_the_contours_enclose_the_mask(mask: np.ndarray) -> None:
    enclosed = [polygon2mask(mask.shape, contour) for contour in closed_contours(mask)]
    assert np.array_equal(np.sum(enclosed, axis=0), mask)  # each pixel in one contour


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_the_area_is_half_a_pixel_short_per_piece_and_larger_per_hole(mask: np.ndarray) -> None:
    contours = closed_contours(mask)
    areas = [abs(np.sum(x * np.roll(y, 1) - np.roll(x, 1) * y)) / 2 for x, y in (contour.T for contour in contours)]
    assert sum(areas) == mask.sum() - 0.5 * euler_number(mask, connectivity=1)  # pieces less holes


def test_a_contour_passes_half_way_between_pixels_inside_and_outside() -> None:
    (contour,) = closed_contours(np.pad(np.ones((2, 3)), ((4, 0), (7, 0))))
    # rows 4 and 5, columns 7 to 9; half a pixel around them, with the corners cut
    expected = {(3.5, 7), (3.5, 9), (4, 9.5), (5, 9.5), (5.5, 9), (5.5, 7), (5, 6.5), (4, 6.5)}
    assert {tuple(point) for point in contour.tolist()} == expected and len(contour) == 8


def test_pixels_that_touch_at_corners_are_separate_contours() -> None:
    assert len(closed_contours(np.eye(3))) == 3


def test_a_hole_is_part_of_the_contour_around_it() -> None:
    mask = np.ones((5, 5))
    mask[2, 2] = 0
    (contour,) = closed_contours(mask)
    points = [tuple(point) for point in contour.tolist()]
    # from the hole's top up to the outer contour, beside the centres of column 2, and back
    low, high = (1.75, 2.25), (-0.5, 2.25)
    assert points.count(low) == points.count(high) == 2
    assert {abs(points.index(low) - points.index(high))} == {1}


def test_an_empty_mask_has_no_contour() -> None:
    assert closed_contours(np.zeros((3, 4))) == []
