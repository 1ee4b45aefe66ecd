"""Grids are compared by their corners and described by axes, spacing and origin."""

from __future__ import annotations

import numpy as np
import pytest

from i2net_bundle.io.geometry import describe_affine, largest_corner_distance, same_grid
from tests.checks.ct_files import LAS


def test_the_distance_of_two_grids_is_the_largest_between_their_corners() -> None:
    turned = np.diag([1.0, -1.0, 1.0, 1.0])
    # corner (4, 3, 2) goes from y = 3 to y = -3
    assert largest_corner_distance(np.eye(4), turned, (5, 4, 3)) == pytest.approx(6)
    assert not same_grid(np.eye(4), turned, (5, 4, 3))


def test_an_affine_is_described_by_axes_spacing_and_origin() -> None:
    assert describe_affine(LAS) == "LAS, spacing 2 x 2 x 3 mm, origin (30, 2, -60)"
