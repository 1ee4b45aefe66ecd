"""Every DICOM series of a folder is checked."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from i2net_bundle.checks.dataset import check_path
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.prediction.inputs import find_inputs
from tests.io.dicom.files import OTHER_UID, two_series, write_ct, write_slice


def test_the_real_dicom_folder_is_sound(shared: Path) -> None:
    report = check_path(shared / "data" / "ct" / "abdomen_20slices_dicom")
    assert (report.cases, report.findings) == ({"DICOM series": 1}, [])


def test_every_series_of_a_tree_is_checked_as_prediction_finds_them(tmp_path: Path) -> None:
    write_ct(tmp_path / "portal")
    write_ct(tmp_path / "arterial", (0, 5, 20), uid=OTHER_UID)
    report = check_path(tmp_path, VolumeOptions(any_intensities=True))
    assert report.cases == {"DICOM series": 2}
    assert [(found.rule, found.file) for found in report.findings] == [("dicom-spacing", str(tmp_path / "arterial"))]
    assert [case["image"] for case in find_inputs([tmp_path], volumes=True)] == [
        str(tmp_path / "arterial"),
        str(tmp_path / "portal"),
    ]


def test_two_series_in_one_folder_are_an_error_that_lists_them(tmp_path: Path) -> None:
    write_ct(tmp_path)
    for number in range(3):
        write_slice(tmp_path / f"arterial{number}.dcm", (-3, -2, 5 * number), uid=OTHER_UID)
    report = check_path(tmp_path)
    assert report.cases == {"DICOM series": 1}
    (found,) = report.findings
    assert (found.severity, found.rule, found.file) == ("error", "dicom-series", str(tmp_path))
    assert "contains 2 series" in found.problem
    assert "1. CT, 4 slices" in found.remedy and "2. CT, 3 slices" in found.remedy


def test_the_voxels_of_a_dicom_folder_are_checked_and_a_series_can_be_chosen(tmp_path: Path) -> None:
    two_series(tmp_path)
    (found,) = check_path(tmp_path, VolumeOptions(series=OTHER_UID)).findings
    assert (found.severity, found.rule) == ("error", "normalised")
    assert "values run from 0 to 1" in found.problem  # of its two slices


def test_pictures_beside_a_dicom_series_are_skipped_with_a_warning(tmp_path: Path) -> None:
    write_ct(tmp_path / "disc")
    Image.new("RGB", (8, 8)).save(tmp_path / "disc" / "logo.png")
    report = check_path(tmp_path / "disc", VolumeOptions(any_intensities=True))
    assert report.cases == {"DICOM series": 1}
    (found,) = report.findings
    assert (found.severity, found.rule) == ("warning", "dicom-skipped")
    assert "(logo.png)" in found.problem
