"""A series becomes a volume with the right values and the right geometry, whatever each slice stores."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  the library's own abbreviation

from i2net_bundle.io.dicom.volume import read_series
from i2net_bundle.io.findings import DataError, Severity
from i2net_bundle.io.itk_process import ItkImage
from tests.io.dicom.files import PATIENT, SPACING_MM, edit, truncated, write_ct, write_slice


def voxels(folder: Path, **options: Any) -> np.ndarray:
    """Read a series as an array (slices, rows, columns)."""
    return voxels_of(read_series(folder, **options)[0])


def voxels_of(image: ItkImage) -> np.ndarray:
    assert image.voxels is not None
    return image.voxels


def store(content: Any, values: np.ndarray, intercept: float, slope: float = 1, bits: int = 16) -> None:
    """Store values (rows, columns) after rescaling as unsigned 16-bit pixels."""
    content.RescaleIntercept, content.RescaleSlope = intercept, slope
    content.PixelRepresentation, content.BitsStored, content.HighBit = 0, bits, bits - 1
    content.PixelData = np.rint((values - intercept) / slope).astype("<u2").tobytes()


def test_a_series_is_read_in_hu_with_its_geometry_whatever_the_file_names(tmp_path: Path) -> None:
    write_ct(tmp_path, (15, 0, 10, 5))
    image, findings = read_series(tmp_path)
    assert findings == []
    assert image.size == (6, 5, 4)
    assert image.spacing == pytest.approx((*SPACING_MM, 5))
    assert image.origin == pytest.approx((-3, -2, 0))
    assert image.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert voxels_of(image)[:, 0, 0].tolist() == [1, 3, 2, 0]  # 0.dcm lies highest


def test_a_single_slice_is_as_thick_as_its_header_says(tmp_path: Path) -> None:
    write_slice(tmp_path / "0.dcm", (0, 0, 0), thickness="6")
    assert read_series(tmp_path)[0].spacing == pytest.approx((*SPACING_MM, 6))


@pytest.mark.parametrize("thickness", ["", "0", "-1"])
def test_a_single_slice_without_thickness_is_refused(thickness: str, tmp_path: Path) -> None:
    write_slice(tmp_path / "0.dcm", (0, 0, 0), thickness=thickness)
    with pytest.raises(DataError, match=r"1 of 1 slices with no SliceThickness, which is needed for a single slice"):
        read_series(tmp_path)


def test_the_rescale_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    write_slice(tmp_path / "0.dcm", (0, 0, 0), value=40, intercept="-1000", slope="2")
    assert (tmp_path / "0.dcm").read_bytes()[-2:] == (520).to_bytes(2, "little")  # (40 + 1000) / 2
    assert set(voxels(tmp_path).ravel()) == {40}


@pytest.mark.parametrize("special", [0, 1, 3], ids=["first", "middle", "last"])
@pytest.mark.parametrize("intercept", [-1024, -8192])
def test_each_slice_is_read_with_its_own_pixel_representation_and_intercept(
    special: int, intercept: int, tmp_path: Path
) -> None:
    def change(content: Any, number: int) -> None:
        values = np.full((5, 6), -900 + 10 * number)
        if number == special:
            store(content, values, intercept, bits=14)
        else:
            content.RescaleIntercept, content.PixelData = 0, values.astype("<i2").tobytes()

    edit(write_ct(tmp_path), change)
    assert voxels(tmp_path)[:, 0, 0].tolist() == [-900, -890, -880, -870]


def test_an_unsigned_first_slice_does_not_wrap_negative_values_of_the_others(tmp_path: Path) -> None:
    def change(content: Any, number: int) -> None:
        store(content, np.full((5, 6), 0 if number == 0 else -700), 0 if number == 0 else -1024)

    edit(write_ct(tmp_path), change)
    assert voxels(tmp_path)[:, 0, 0].tolist() == [0, -700, -700, -700]


def test_slices_of_8_and_16_bits_are_read_by_their_own_bits(tmp_path: Path) -> None:
    def change(content: Any, number: int) -> None:
        store(content, np.full((5, 6), 100), 0)
        if number == 0:
            content.BitsAllocated, content.BitsStored, content.HighBit = 8, 8, 7
            content.PixelData = np.full((5, 6), 100, np.uint8).tobytes()

    edit(write_ct(tmp_path), change)
    assert voxels(tmp_path)[:, 0, 0].tolist() == [100, 100, 100, 100]


def test_each_slice_of_a_pet_has_its_own_slope(tmp_path: Path) -> None:
    def change(content: Any, number: int) -> None:
        store(content, np.full((5, 6), 10.0), 0, slope=(1, 0.5, 0.25, 0.125)[number])

    edit(write_ct(tmp_path, modality="PT"), change)
    assert voxels(tmp_path, ct=False)[:, 0, 0].tolist() == [10, 10, 10, 10]


# Padding


def pad(content: Any, padding: int, bits: int, vr: str = "US", declared: bool = True) -> None:
    """Store a slice of 50 HU whose first row is padding."""
    store(content, np.full((5, 6), 50), -1024, bits=bits)
    pixels = np.frombuffer(content.PixelData, "<u2").reshape(5, 6).copy()
    pixels[0] = padding % 2**16
    content.PixelData = pixels.tobytes()
    if declared:
        content.add_new("PixelPaddingValue", vr, padding)


@pytest.mark.parametrize(
    ("padding", "vr", "bits"),
    [(63536, "US", 16), (-2000, "SS", 16), (63536, "US", 12), (4095, "US", 12), (65535, "US", 16)],
)
def test_bright_padding_becomes_air_with_a_warning(padding: int, vr: str, bits: int, tmp_path: Path) -> None:
    edit(write_ct(tmp_path), lambda content, _: pad(content, padding, bits, vr))
    image, (found,) = read_series(tmp_path)
    values = voxels_of(image)
    assert set(values[:, 0].ravel()) == {-1024}
    assert set(values[:, 1:].ravel()) == {50}
    assert image.spacing == pytest.approx((*SPACING_MM, 5))
    assert (found.severity, found.rule) == (Severity.WARNING, "dicom-padding")
    assert "contains 24 voxels of padding (PixelPaddingValue) as bright as" in found.problem
    assert found.problem.endswith("they were set to -1024")


def test_a_range_of_padding_is_replaced_as_a_whole(tmp_path: Path) -> None:
    def change(content: Any, _: int) -> None:
        pad(content, 3000, 16)
        pixels = np.frombuffer(content.PixelData, "<u2").copy()
        pixels[:3] = 3001, 3002, 3003
        content.PixelData = pixels.tobytes()
        content.add_new("PixelPaddingRangeLimit", "US", 3002)

    edit(write_ct(tmp_path), change)
    assert voxels(tmp_path)[0, 0].tolist() == [-1024, -1024, 3003 - 1024, -1024, -1024, -1024]


def test_tissue_that_happens_to_have_the_declared_padding_value_is_kept(tmp_path: Path) -> None:
    def change(content: Any, _: int) -> None:
        values = np.full((5, 6), -1000, "<i2")
        values[1:4, 1:5] = 0  # water
        content.PixelData, content.RescaleIntercept = values.tobytes(), 0
        content.add_new("PixelPaddingValue", "SS", 0)

    edit(write_ct(tmp_path), change)
    image, findings = read_series(tmp_path)
    assert findings == []
    assert np.count_nonzero(voxels_of(image) == 0) == 4 * 12


def test_padding_as_dark_as_air_is_kept_without_a_word(tmp_path: Path) -> None:
    def change(content: Any, _: int) -> None:
        content.PixelData = np.full((5, 6), -2000, "<i2").tobytes()
        content.RescaleIntercept = -1024
        content.add_new("PixelPaddingValue", "SS", -2000)

    edit(write_ct(tmp_path), change)
    image, findings = read_series(tmp_path)
    assert findings == []
    assert set(voxels_of(image).ravel()) == {-3024}


def test_undeclared_negative_numbers_in_unsigned_pixels_are_refused(tmp_path: Path) -> None:
    edit(write_ct(tmp_path), lambda content, _: pad(content, 63536, 16, declared=False))
    message = r"contains values up to 62512 HU: padding or negative numbers stored as unsigned"
    with pytest.raises(DataError, match=message):
        read_series(tmp_path)


def test_padding_of_an_mr_becomes_its_darkest_value(tmp_path: Path) -> None:
    def change(content: Any, _: int) -> None:
        pad(content, 65535, 16)
        content.RescaleIntercept = 0

    edit(write_ct(tmp_path, modality="MR"), change)
    assert set(voxels(tmp_path, ct=False).ravel()) == {1074}


# Damage


def test_what_is_returned_contains_nothing_of_the_patient(tmp_path: Path) -> None:
    write_ct(tmp_path)
    image, _ = read_series(tmp_path)
    assert not any(secret in str(image) for secret in PATIENT.values())


def test_a_truncated_series_is_refused(tmp_path: Path) -> None:
    truncated(tmp_path / "scan")
    with pytest.raises(DataError, match=r"cannot be read: truncated or damaged \(3\.dcm\)"):
        read_series(tmp_path / "scan")


def test_the_real_series_equals_its_nifti_file(shared: Path) -> None:
    folder = shared / "data" / "ct"
    series, _ = read_series(folder / "abdomen_20slices_dicom")
    image = sitk.GetImageFromArray(voxels_of(series))
    image.SetSpacing(series.spacing)
    image.SetOrigin(series.origin)
    image.SetDirection(series.direction)
    image = sitk.DICOMOrient(image, "LPS")
    expected = sitk.DICOMOrient(sitk.ReadImage(str(folder / "abdomen_20slices_ct.nii.gz")), "LPS")
    assert image.GetSize() == expected.GetSize() == (512, 512, 20)
    assert image.GetSpacing() == pytest.approx(expected.GetSpacing(), abs=1e-5)
    assert image.GetOrigin() == pytest.approx(expected.GetOrigin(), abs=1e-3)
    assert image.GetDirection() == pytest.approx(expected.GetDirection(), abs=1e-6)
    assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(expected))


def test_a_slice_missing_from_the_real_series_is_noticed(shared: Path, tmp_path: Path) -> None:
    files = sorted((shared / "data" / "ct" / "abdomen_20slices_dicom").iterdir())
    for file in files[:9] + files[10:]:
        shutil.copy(file, tmp_path)
    with pytest.raises(DataError, match=r"missing slices or irregular spacing: 4 mm between .* but mostly 2 mm"):
        read_series(tmp_path)


def test_a_slice_of_the_real_series_with_damaged_pixels_is_named(shared: Path, tmp_path: Path) -> None:
    files = sorted((shared / "data" / "ct" / "abdomen_20slices_dicom").iterdir())[:3]
    for number, file in enumerate(files):
        content = file.read_bytes()
        (tmp_path / f"{number}.dcm").write_bytes(content[:-2000] + bytes(2000) if number == 1 else content)
    with pytest.raises(
        DataError, match=r"contains 1 slice that cannot be decoded: damaged, .* \(1\.dcm\)\. Copy or export"
    ):
        read_series(tmp_path)
