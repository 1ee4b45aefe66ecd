"""A registered format is a volume everywhere, and its faults are findings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from i2net_bundle.data.image_files import list_images
from i2net_bundle.io import formats
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.formats import VolumeFormat, image_stem, is_volume, register
from i2net_bundle.io.masks import mask_name
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.io.volumes import read_volume, volume_shape

AFFINE = np.diag([-2.0, -2.0, 3.0, 1.0])


def read_numpy(path: Path) -> nib.Nifti1Image:
    """A volume without a header of its own, at a fixed spacing."""
    return nib.Nifti1Image(np.load(path), AFFINE)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(formats, "FORMATS", [])
    register(VolumeFormat((".npy",), read_numpy))
    yield


def test_files_of_a_registered_format_are_volumes_by_name(tmp_path: Path) -> None:
    path = tmp_path / "ct.npy"
    np.save(path, np.zeros((4, 5, 6), np.int16))
    assert is_volume(path) and image_stem(path) == "ct" and mask_name(path) == "ct_mask.nii.gz"
    assert [case["image"] for case in list_images(tmp_path)] == [str(path)]


def test_a_volume_is_what_the_format_reads(tmp_path: Path) -> None:
    voxels = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    np.save(tmp_path / "ct.npy", voxels)
    image, findings = read_volume(tmp_path / "ct.npy", VolumeOptions())
    assert findings == [] and volume_shape(tmp_path / "ct.npy") == (4, 5, 6)
    assert np.array_equal(image.affine, AFFINE) and np.array_equal(np.asarray(image.dataobj), voxels)


def test_what_the_reader_raises_is_a_finding_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "ct.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"ct\.npy: cannot be read"):
        read_volume(tmp_path / "ct.npy", VolumeOptions())


def test_an_array_that_is_no_single_volume_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "ct.npy", np.zeros((4, 5, 6, 2), np.int16))
    with pytest.raises(DataError, match=r"shape \(4, 5, 6, 2\), not as one volume"):
        read_volume(tmp_path / "ct.npy", VolumeOptions())


def with_entries(*entries: tuple[int, int, float]) -> np.ndarray:
    affine = AFFINE.copy()
    for row, column, value in entries:
        affine[row, column] = value
    return affine


@pytest.mark.parametrize(
    "affine",
    [with_entries((0, 0, 2), (1, 0, 2), (0, 1, 2), (1, 1, 2)), with_entries((0, 3, np.nan))],
    ids=["parallel axes", "no origin"],
)
def test_an_affine_that_places_nothing_is_refused(
    affine: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "ct.npy", np.zeros((4, 5, 6), np.int16))
    reader = VolumeFormat((".npy",), lambda path: nib.Nifti1Image(np.load(path), affine))
    monkeypatch.setattr(formats, "FORMATS", [reader])
    with pytest.raises(DataError, match="does not place it in space"):
        read_volume(tmp_path / "ct.npy", VolumeOptions())


@pytest.mark.parametrize("suffix", [".nii.gz", ".png", ".npy", ".img"])
def test_a_suffix_that_is_read_already_cannot_be_registered(suffix: str) -> None:
    with pytest.raises(ValueError, match="read already"):
        register(VolumeFormat((suffix,), read_numpy))
