"""A CT, and its mask, is the same volume in every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813, its usual name

from i2net_bundle.checks import check_case
from i2net_bundle.checks.scans import load_volume
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.formats import is_volume
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.io.volumes import volume_shape
from tests.checks.ct_files import AFFINE, hu_volume, save
from tests.io.dicom.files import CT_UID, OTHER_UID, two_series, write_ct
from tests.io.volume_files import converted, rotated

ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")


@pytest.mark.parametrize("suffix", ITK_SUFFIXES)
@pytest.mark.parametrize("affine", [AFFINE, rotated()], ids=["LPS", "oblique"])
def test_itk_formats_contain_what_the_nifti_file_contains(suffix: str, affine: np.ndarray, tmp_path: Path) -> None:
    nifti = save(tmp_path / "ct.nii.gz", hu_volume(), affine)
    expected, _ = load_volume(nifti, VolumeOptions())
    path = converted(nifti, suffix)
    found, findings = load_volume(path, VolumeOptions())
    assert findings == []
    assert np.array_equal(np.asarray(found.dataobj), hu_volume())
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)
    assert is_volume(path)
    assert volume_shape(path) == hu_volume().shape


def test_a_dicom_folder_is_a_volume_in_its_own_order(tmp_path: Path) -> None:
    found, _ = load_volume(write_ct(tmp_path / "scan"), VolumeOptions(any_intensities=True))
    assert found.shape == (6, 5, 4)
    assert np.asarray(found.dataobj)[0, 0].tolist() == [0, 1, 2, 3]  # each slice contains its number
    # LPS: x and y of the first voxel are -3 and -2 there, 3 and 2 in RAS
    np.testing.assert_allclose(found.affine, [[-0.8, 0, 0, 3], [0, -0.9, 0, 2], [0, 0, 5, 0], [0, 0, 0, 1]], atol=1e-6)


@pytest.mark.parametrize(("uid", "slices"), [(CT_UID, 4), (OTHER_UID, 2)])
def test_of_several_series_one_is_chosen(uid: str, slices: int, tmp_path: Path) -> None:
    two_series(tmp_path / "study")
    found, _ = load_volume(tmp_path / "study", VolumeOptions(series=uid, any_intensities=True))
    assert found.shape == (6, 5, slices)


def test_several_series_without_a_choice_are_listed_and_a_case_says_so(tmp_path: Path) -> None:
    two_series(tmp_path / "study")
    (found,) = check_case({"image": str(tmp_path / "study")}, VolumeOptions())
    assert found.rule == "dicom-series"
    assert "--series NUMBER" in found.remedy and "\n  3. CT, 1 slice" in found.remedy


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_of_several_volumes_one_is_chosen(suffix: str, tmp_path: Path) -> None:
    volumes = [hu_volume(seed=seed) for seed in range(2)]
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(volume.T) for volume in volumes]), str(tmp_path / "4d.mha"))
    pixels = sitk.Compose([sitk.GetImageFromArray(volume.T) for volume in volumes])
    path = tmp_path / "4d.mha" if suffix == ".mha" else tmp_path / "vector.nrrd"
    if suffix == ".nrrd":
        sitk.WriteImage(pixels, str(path))
    with pytest.raises(DataError, match=r"contains 2 volumes .* Choose one with volume, 0 to 1 \(--volume of i2net\)"):
        load_volume(path, VolumeOptions())
    with pytest.raises(DataError, match="there is no volume 2"):
        load_volume(path, VolumeOptions(volume=2))
    assert np.array_equal(np.asarray(load_volume(path, VolumeOptions(volume=1))[0].dataobj), volumes[1])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent.nrrd", None, r"absent\.nrrd: cannot be opened \(No such file or directory\)\. Check the path"),
        ("html.mha", b"<!doctype html>", r"html\.mha: is an HTML or XML page"),
        ("text.mha", b"no image", r"text\.mha: cannot be read \(.*\)\. Download it again"),
        ("slice.dcm.nrrd", b"\0" * 128 + b"DICM", r"is a single DICOM file of a series\. Pass the folder"),
        ("empty.nrrd", b"", r"empty\.nrrd: is empty \(0 bytes\)"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, content: bytes | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        load_volume(tmp_path / name, VolumeOptions())


def test_the_voxels_that_a_header_names_must_be_there(tmp_path: Path) -> None:
    path = converted(save(tmp_path / "ct.nii.gz", hu_volume()), ".mhd")
    path.with_suffix(".raw").unlink()
    with pytest.raises(DataError, match=r"ct\.mhd: is truncated or damaged: its voxels in ct\.raw, which it names"):
        load_volume(path, VolumeOptions())


def test_intensities_are_checked_in_every_format(tmp_path: Path) -> None:
    nifti = save(tmp_path / "ct.nii.gz", (hu_volume() + 1024).astype(np.int16))
    with pytest.raises(DataError, match=r"ct\.nrrd: looks like HU \+ 1024"):
        load_volume(converted(nifti, ".nrrd"), VolumeOptions())
