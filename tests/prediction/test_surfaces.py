"""Surfaces are closed, lie where the voxels are, and enclose their volume."""

from __future__ import annotations

from collections import Counter

import nibabel as nib
import numpy as np
import pytest

from i2net_bundle.data.phantoms import make_ct_phantoms
from i2net_bundle.prediction.surfaces import Surface, class_surface


def is_closed(surface: Surface) -> bool:
    """Whether every edge belongs to two triangles, which pass it in opposite directions."""
    edges = Counter((int(a), int(b)) for face in surface.faces for a, b in zip(face, np.roll(face, -1), strict=True))
    return all(count == 1 and edges[b, a] == 1 for (a, b), count in edges.items())


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "SPL"])
def test_the_surface_of_a_ball_has_its_place_and_volume_in_any_orientation(codes: str) -> None:
    x, y, z = np.mgrid[:30, :30, :20]
    ball = ((2 * (x - 16)) ** 2 + (2 * (y - 14)) ** 2 + (3 * (z - 9)) ** 2 < 18**2).astype(np.uint8)
    image = nib.Nifti1Image(ball, np.diag([2.0, 2.0, 3.0, 1.0]))
    image.affine[:3, 3] = (-50, 10, 200)
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes))
    image = image.as_reoriented(turn)
    surface = class_surface(np.asarray(image.dataobj), image.affine, 1)
    assert surface is not None and is_closed(surface)
    assert surface.volume_ml == pytest.approx(ball.sum() * 2 * 2 * 3 / 1000, rel=0.01)  # positive: faces look outwards
    np.testing.assert_allclose(surface.vertices.mean(axis=0), (-50 + 32, 10 + 28, 200 + 27), atol=1)
    np.testing.assert_allclose(np.ptp(surface.vertices, axis=0), 36, atol=4)


def test_every_organ_of_a_phantom_has_a_closed_surface_of_its_volume(tmp_path) -> None:
    folder = make_ct_phantoms(tmp_path, 1, 0, 0, (64, 64, 32), (6.0, 6.0, 8.0)).parent
    label = nib.load(next((folder / "labelsTr").iterdir()))
    mask = np.asarray(label.dataobj).astype(np.uint8)
    for index in range(1, 9):
        surface = class_surface(mask, label.affine, index)
        assert surface is not None and is_closed(surface)
        assert surface.volume_ml == pytest.approx((mask == index).sum() * 6 * 6 * 8 / 1000, rel=0.01)


def test_a_class_at_the_end_of_the_volume_is_closed_there() -> None:
    mask = np.zeros((12, 12, 12), np.uint8)
    mask[:, 3:9, 3:9] = 2
    surface = class_surface(mask, np.eye(4), 2)
    assert surface is not None and is_closed(surface)
    assert surface.volume_ml == pytest.approx(12 * 6 * 6 / 1000, rel=0.01)


def test_a_class_that_is_absent_has_no_surface() -> None:
    assert class_surface(np.zeros((4, 4, 4), np.uint8), np.eye(4), 1) is None
