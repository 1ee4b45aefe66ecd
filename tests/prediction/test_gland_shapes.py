"""Measurements of glands, on shapes whose size is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.draw import disk, ellipse

from i2net_bundle.prediction.gland_shapes import gland_shapes, instance_statistics, lumen_of
from i2net_bundle.prediction.statistics import flat_rows

PURPLE, WHITE = (120, 60, 140), (245, 240, 245)


@pytest.fixture
def section() -> tuple[np.ndarray, np.ndarray]:
    """A disk of radius 40 with a lumen of radius 20, an ellipse of half axes 15 and 60, and an L at the border."""
    ids = np.zeros((200, 300), np.int32)
    image = np.full((200, 300, 3), PURPLE, np.uint8)
    ids[disk((60, 60), 40)] = 1
    image[disk((60, 60), 20)] = WHITE
    ids[ellipse(60, 200, 15, 60)] = 2
    ids[120:200, 0:20] = ids[180:200, 0:80] = 3
    image[110:119, 100:200] = WHITE  # outside glands
    return image, ids


def test_measurements_are_those_of_the_shapes(section: tuple[np.ndarray, np.ndarray]) -> None:
    image, ids = section
    round_one, long_one, bent_one = gland_shapes(ids, lambda rows, cols: image[rows, cols])
    assert [shape.id for shape in (round_one, long_one, bent_one)] == [1, 2, 3]
    assert (round_one.x, round_one.y) == (60.5, 60.5)
    assert round_one.area_px == pytest.approx(math.pi * 40**2, rel=0.01)
    assert round_one.perimeter_px == pytest.approx(2 * math.pi * 40, rel=0.02)
    assert round_one.eccentricity < 0.05 and round_one.solidity > 0.97
    assert round_one.lumen_share == pytest.approx((20 / 40) ** 2, abs=0.03)
    assert long_one.eccentricity == pytest.approx(math.sqrt(1 - (15 / 60) ** 2), abs=0.01)
    assert long_one.lumen_share == 0
    hull = 80 * 80 - 60 * 60 / 2  # the L, and the triangle between its arms
    assert bent_one.solidity == pytest.approx(bent_one.area_px / hull, abs=0.02)
    assert [shape.touches_border for shape in (round_one, long_one, bent_one)] == [False, False, True]


def test_small_pale_specks_are_no_lumen() -> None:
    gland = np.ones((60, 60), bool)
    image = np.full((60, 60, 3), PURPLE, np.uint8)
    image[10:14, 10:14] = WHITE
    assert not lumen_of(image, gland).any()
    image[30:50, 30:50] = WHITE
    assert lumen_of(image, gland).sum() == pytest.approx(400, rel=0.2)


def test_statistics_have_totals_of_areas_and_medians_of_everything(section: tuple[np.ndarray, np.ndarray]) -> None:
    image, ids = section
    shapes = gland_shapes(ids, lambda rows, cols: image[rows, cols])
    statistics = instance_statistics(ids > 0, shapes, um_per_px=0.5)
    assert statistics["count"] == 3 and statistics["touching_border"] == 1
    assert statistics["share"] == pytest.approx((ids > 0).mean(), abs=1e-6)
    assert statistics["area_um2"][0] == pytest.approx(statistics["area_px"][0] / 4, abs=0.05)
    (row,) = flat_rows("a", statistics)
    assert row["total_area_px"] == (ids > 0).sum()
    assert row["median_solidity"] == np.median([shape.solidity for shape in shapes])
    assert not any(name.startswith("total_") and "area" not in name for name in row)


def test_an_image_without_glands_has_statistics() -> None:
    ids = np.zeros((20, 20), np.int32)
    shapes = gland_shapes(ids, lambda rows, cols: np.zeros((20, 20, 3), np.uint8))
    assert shapes == [] and instance_statistics(ids, shapes)["count"] == 0
