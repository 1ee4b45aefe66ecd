"""Every DICOM series of the inputs is a case with a name that identifies nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2net_bundle.io.dicom.volume import read_series
from i2net_bundle.io.findings import DataError
from i2net_bundle.prediction.inputs import find_inputs
from tests.checks.ct_files import hu_volume, save
from tests.io.dicom.files import CT_UID, OTHER_UID, truncated, two_series, write_ct, write_scout, write_slice


def images(inputs: list[Path], series: int | str | None = None) -> list[str]:
    """Images found in the inputs."""
    return [case["image"] for case in find_inputs(inputs, True, series)]


def test_a_dicom_folder_is_one_volume_and_a_folder_of_files_is_many(tmp_path: Path) -> None:
    series = write_ct(tmp_path / "scan")
    volume = save(tmp_path / "ct.nii.gz", hu_volume())
    assert images([series]) == [str(series)]
    assert images([tmp_path]) == [str(volume), str(series)]


def test_every_patient_of_a_cohort_is_a_case(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        write_ct(tmp_path / name / "DICOM", uid=f"1.2.3.{name[1]}")
    write_scout(tmp_path / "p2" / "scout")
    assert images([tmp_path]) == [str(tmp_path / "p1"), str(tmp_path / "p2")]


def test_a_series_in_several_folders_is_one_case(tmp_path: Path) -> None:
    for name, heights in (("a", (0, 5)), ("b", (10, 15))):
        write_ct(tmp_path / "split" / name, heights)
    assert images([tmp_path / "split"]) == [str(tmp_path / "split")]
    assert read_series(tmp_path / "split")[0].size[2] == 4
    write_ct(tmp_path / "other", uid=OTHER_UID)
    assert images([tmp_path]) == [str(tmp_path / "other"), str(tmp_path / "split")]


def test_no_series_is_read_in_part_if_folders_share_one(tmp_path: Path) -> None:
    write_ct(tmp_path / "a", (0, 5))
    write_ct(tmp_path / "b", (10, 15))
    write_slice(tmp_path / "b" / "other.dcm", (-3, -2, 0), uid=OTHER_UID)
    assert images([tmp_path]) == [str(tmp_path)]
    with pytest.raises(DataError, match="contains 2 series"):
        read_series(tmp_path)
    write_ct(tmp_path / "c", uid="1.2.3.7")
    assert images([tmp_path]) == [str(tmp_path), str(tmp_path / "c")]


def test_a_series_in_a_folder_and_one_in_its_subfolder_are_two_cases(tmp_path: Path) -> None:
    write_ct(tmp_path / "scan")
    write_ct(tmp_path / "scan" / "below", (0, 3), uid=OTHER_UID)
    found = images([tmp_path])
    assert found == [str(tmp_path / "scan"), str(tmp_path / "scan" / "below")]
    assert [read_series(folder)[0].size[2] for folder in found] == [4, 2]


def test_a_chosen_series_is_searched_in_the_whole_input(tmp_path: Path) -> None:
    two_series(tmp_path)
    assert images([tmp_path]) == [str(tmp_path / "arterial"), str(tmp_path / "portal")]
    assert images([tmp_path], 1) == images([tmp_path], CT_UID) == [str(tmp_path)]


def test_a_folder_of_damaged_slices_is_a_case_that_fails(tmp_path: Path) -> None:
    write_ct(tmp_path / "whole")
    truncated(tmp_path / "damaged")
    for number in range(3):
        (tmp_path / "damaged" / f"{number}.dcm").unlink()
    assert images([tmp_path]) == [str(tmp_path / "damaged"), str(tmp_path / "whole")]


def test_reports_and_dicomdir_are_not_cases(tmp_path: Path) -> None:
    write_ct(tmp_path / "scan")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "SR000001").write_bytes(bytes(128) + b"DICM")
    assert images([tmp_path]) == [str(tmp_path)]


def test_finding_one_series_or_many_volumes_reads_no_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = write_ct(tmp_path / "scan")
    (tmp_path / "volumes").mkdir()
    volume = save(tmp_path / "volumes" / "ct.nii.gz", hu_volume())
    monkeypatch.setattr("i2net_bundle.io.dicom.series.read_header", lambda path: pytest.fail(f"reads {path}"))
    assert images([series, tmp_path / "volumes"]) == [str(series), str(volume)]


def test_dicom_folders_named_by_uids_or_patients_get_neutral_names(tmp_path: Path) -> None:
    shown = {
        "1.2.840.113.555": ("dicom_2", "dicom_2"),
        "DOE^JANE/scan": ("scan", "scan"),
        "DOE^JOHN": ("dicom_3", "dicom_3"),
        "dicom_1": ("dicom_1", str(tmp_path / "dicom_1")),
        "p 2.1": ("p 2.1", str(tmp_path / "p 2.1")),
    }
    inputs = [write_ct(tmp_path / name, uid=f"1.2.3.{number}") for number, name in enumerate(shown)]
    found = [(case["case"], case["shown"]) for case in find_inputs(inputs, volumes=True)]
    assert found == list(shown.values())


def test_names_of_patient_folders_never_become_part_of_case_names(tmp_path: Path) -> None:
    for number, name in enumerate(("DOE^JANE", "DOE^JOHN")):
        write_ct(tmp_path / name / "scan", uid=f"1.2.3.{number}")
    inputs = [tmp_path / name / "scan" for name in ("DOE^JANE", "DOE^JOHN")]
    assert [case["case"] for case in find_inputs(inputs, volumes=True)] == ["dicom_1", "dicom_2"]
