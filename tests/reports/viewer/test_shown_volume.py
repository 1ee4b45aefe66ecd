"""What a page shows of a volume lies where the file's voxels lie, and keeps their values to half a level."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from i2net_bundle.prediction.surfaces import class_surface
from i2net_bundle.reports.viewer.shown_volume import (
    block_affine,
    block_factors,
    packed_surface,
    show_volume,
)
from tests.reports.viewer.predictions import body, oriented


def unpacked(content: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAL"])
def test_ct_keeps_its_grid_and_its_values_in_the_window(codes: str) -> None:
    hu, labels = (oriented(part, codes) for part in body())
    shown = show_volume(np.asarray(hu.dataobj), np.asarray(labels.dataobj), hu.affine, ["CT"])
    image, mask = unpacked(shown.image), unpacked(shown.mask)
    np.testing.assert_allclose(image.affine, hu.affine)
    np.testing.assert_allclose(mask.affine, hu.affine)
    assert np.array_equal(mask.dataobj, labels.dataobj)
    half_a_level = 400 / 255 / 2
    expected = np.clip(hu.dataobj, -125, 275)
    np.testing.assert_allclose(image.get_fdata(), expected, atol=1.001 * half_a_level)
    assert shown.notes == ("The image is shown in 256 levels from -125 to 275 HU.",)


def test_other_channels_are_shown_between_their_percentiles_and_only_the_first() -> None:
    values = np.linspace(0, 1000, 6000).reshape(20, 20, 15).astype(np.float32)
    shown = show_volume(values, np.zeros((20, 20, 15), np.uint8), np.eye(4), ["T2", "ADC"])
    assert shown.unit == "" and not shown.surfaces
    assert shown.notes[0] == "The image is shown in 256 levels from 5 to 995."
    assert shown.notes[1] == "The channels are T2, ADC; only the first is shown."


def test_a_large_volume_is_reduced_along_its_finest_axes_and_the_page_says_so() -> None:
    hu, labels = (oriented(part, "LPS") for part in body())
    shown = show_volume(np.asarray(hu.dataobj), np.asarray(labels.dataobj), hu.affine, ["CT"], most_voxels=10_000)
    mask = unpacked(shown.mask)
    assert mask.shape == (20, 18, 24)  # of 6 × 8 × 5 mm
    assert "the mean of 2 × 2 × 1 voxels of the file" in shown.notes[1]
    for index in (1, 2):  # the centre of mass stays within half a voxel
        centres = [
            nib.affines.apply_affine(part.affine, np.argwhere(np.asarray(part.dataobj) == index).mean(axis=0))
            for part in (labels, mask)
        ]
        np.testing.assert_allclose(*centres, atol=4.5)


def test_the_first_block_lies_at_the_mean_of_its_voxels() -> None:
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = (10, 20, 30)
    # voxels 0 to 2 along x lie at 10, 8, 6; 0 and 1 along y at 20 and 23; 0 along z at 30
    np.testing.assert_allclose(block_affine(affine, (3, 2, 1))[:3, 3], (8, 21.5, 30))


def test_the_factors_never_exceed_the_size_of_an_axis() -> None:
    assert block_factors((1, 600, 600), (0.1, 1, 1), 100_000) == (1, 2, 2)


def test_the_files_contain_nothing_but_the_grid_and_the_values() -> None:
    hu, mask = body()
    shown = show_volume(hu, mask, np.eye(4), ["CT"])
    for content in (shown.image, shown.mask):
        header = unpacked(content).header
        assert not any(header[field].tobytes().strip(b"\0") for field in ("descrip", "db_name", "aux_file"))


def test_a_packed_surface_is_the_surface_to_a_hundredth_of_a_millimetre() -> None:
    _, mask = body()
    surface = class_surface(mask, np.diag([3.0, 4.0, 5.0, 1.0]), 1)
    assert surface is not None
    frame, content = packed_surface(surface.vertices, surface.faces)
    stored = gzip.decompress(content)
    count, faces = len(surface.vertices), len(surface.faces)
    assert (frame["vertices"], frame["faces"], len(stored)) == (count, faces, 6 * count + 12 * faces)
    places = np.cumsum(np.frombuffer(stored[: 6 * count], "<u2"), dtype=np.uint16).reshape(3, count).T
    np.testing.assert_allclose(places * frame["step"] + np.array(frame["origin"]), surface.vertices, atol=0.01)
    np.testing.assert_array_equal(np.cumsum(np.frombuffer(stored[6 * count :], "<i4")).reshape(-1, 3), surface.faces)
