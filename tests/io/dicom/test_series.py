"""The series of a folder are listed and chosen without identifying the patient."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2net_bundle.io.dicom.series import find_series, list_series
from i2net_bundle.io.findings import DataError, Severity
from i2net_bundle.io.options import VolumeOptions
from tests.io.dicom.files import (
    CT_UID,
    DESCRIPTION,
    OTHER_UID,
    PATIENT,
    SCOUT_UID,
    SECRETS,
    SPACING_MM,
    edit,
    named_by_uids,
    truncated,
    two_series,
    write_ct,
    write_scout,
    write_slice,
)


def test_series_are_listed_with_what_tells_them_apart(tmp_path: Path) -> None:
    two_series(tmp_path)
    (tmp_path / "README.txt").write_text("not DICOM")
    listed = {series.uid: series for series in list_series(tmp_path)}
    assert listed.keys() == {CT_UID, OTHER_UID, SCOUT_UID}
    series = listed[OTHER_UID]
    assert (series.description, series.modality, series.num_slices, series.size) == (DESCRIPTION, "CT", 2, (6, 5))
    assert listed[SCOUT_UID].plane == "coronal" and series.plane == "axial"
    assert series.slices[0].spacing_mm == pytest.approx(SPACING_MM)
    assert series.slice_spacing_mm == pytest.approx(3)
    assert [uid for uid, series in listed.items() if series.is_localizer] == [SCOUT_UID]


def test_the_only_series_besides_localisers_is_chosen(tmp_path: Path) -> None:
    write_ct(tmp_path / "ct")
    write_scout(tmp_path / "not axial")
    declared = {"image_type": "ORIGINAL\\PRIMARY\\LOCALIZER", "description": "Scout"}
    write_ct(tmp_path / "declared", (0, 5, 10), uid=OTHER_UID, **declared)
    assert find_series(tmp_path)[0].uid == CT_UID


@pytest.mark.parametrize(
    ("chosen", "slices"), [(CT_UID, 4), (OTHER_UID, 2), (SCOUT_UID, 1), (1, 2), (2, 4), (3, 1)], ids=str
)
def test_a_series_is_chosen_by_its_number_or_its_uid(chosen: int | str, slices: int, tmp_path: Path) -> None:
    two_series(tmp_path)
    assert find_series(tmp_path, chosen)[0].num_slices == slices


def test_a_series_number_may_be_text_and_counts_from_1() -> None:
    assert (VolumeOptions(series="2").series, VolumeOptions(series="1.2.3").series) == (2, "1.2.3")
    with pytest.raises(ValueError, match="series must be a number from 1 or a UID, got 0"):
        VolumeOptions(series="0")


def test_a_series_in_the_folder_itself_precedes_those_of_subfolders(tmp_path: Path) -> None:
    write_ct(tmp_path)
    write_ct(tmp_path / "below", (0, 3), uid=OTHER_UID)
    assert find_series(tmp_path)[0].num_slices == 4
    write_slice(tmp_path / "below" / "more.dcm", (-3, -2, 20))  # of the folder's own series
    with pytest.raises(DataError, match=r"contains 2 series\. Choose one"):
        find_series(tmp_path)


def test_a_series_whose_uid_was_removed_is_identified_by_its_folder(tmp_path: Path) -> None:
    write_ct(tmp_path / "a", uid="")
    write_ct(tmp_path / "b", (0, 3), uid="")
    assert {series.uid: series.num_slices for series in list_series(tmp_path)} == {"a": 4, "b": 2}
    assert find_series(tmp_path, "b")[0].num_slices == 2


def test_a_description_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    write_ct(tmp_path)

    def describe(content: object, _: int) -> None:
        content.SpecificCharacterSet, content.SeriesDescription = "ISO_IR 192", "Abd\x1b[31mömen"  # type: ignore[attr-defined]

    (series,) = list_series(edit(tmp_path, describe))
    assert series.description == "Abd?[31mömen"


# What a folder cannot answer


@pytest.mark.parametrize("kind", ["absent", "a file"])
def test_a_path_that_is_not_a_folder_is_refused(kind: str, tmp_path: Path) -> None:
    if kind == "a file":
        (tmp_path / "scan").touch()
    with pytest.raises(DataError, match=r"scan: is not a folder\. Pass the folder that contains the DICOM files"):
        list_series(tmp_path / "scan")


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError, match=r"contains no DICOM slices\. Pass the folder that contains the slices"):
        list_series(tmp_path)


def test_several_series_are_listed_by_number(tmp_path: Path) -> None:
    two_series(tmp_path)
    message = (
        r"contains 2 series\. Choose one with --series NUMBER; `i2net series FOLDER` shows descriptions and UIDs\.\n"
        r"  1\. CT, 2 slices of 6 × 5, 0\.8 × 0\.9 × 3 mm, axial\n"
        r"  2\. CT, 4 slices of 6 × 5, 0\.8 × 0\.9 × 5 mm, axial\n"
        r"  3\. CT, 1 slice of 6 × 5, 0\.8 × 0\.9 × 4 mm, coronal, localiser$"
    )
    with pytest.raises(DataError, match=message) as caught:
        find_series(tmp_path)
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_only_a_localiser_is_refused(tmp_path: Path) -> None:
    write_scout(tmp_path)
    with pytest.raises(DataError, match=r"contains only localisers\. Choose one .*\n  1\. CT, 1 slice"):
        find_series(tmp_path)


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [("9.9.8.7", r"contains no series with the given UID"), (2, r"contains 1 series, so there is no number 2")],
)
def test_an_unknown_series_is_refused_with_the_list_and_without_uids(
    chosen: int | str, problem: str, tmp_path: Path
) -> None:
    write_ct(tmp_path)
    with pytest.raises(DataError, match=rf"{problem}\. Choose one with --series .*\n  1\. CT, 4 slices") as caught:
        find_series(tmp_path, chosen)
    assert not any(secret in str(caught.value) for secret in (*SECRETS, "9.9.8.7"))


def test_a_truncated_slice_is_named_unless_its_name_is_a_uid(tmp_path: Path) -> None:
    truncated(tmp_path / "scan")
    message = r"contains 1 slice that cannot be read: truncated or damaged \(3\.dcm\)\. Copy"
    with pytest.raises(DataError, match=message):
        list_series(tmp_path / "scan")
    named_by_uids(tmp_path / "scan")
    with pytest.raises(DataError, match=r"contains 1 slice that cannot be read: truncated or damaged\. Copy"):
        list_series(tmp_path / "scan")


# Other files beside a series


def test_other_files_are_skipped_with_a_warning_that_names_them(tmp_path: Path) -> None:
    write_ct(tmp_path / "scan")
    (tmp_path / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7")
    series, (found,) = find_series(tmp_path)
    assert (series.num_slices, found.severity, found.rule) == (4, Severity.WARNING, "dicom-skipped")
    assert str(found) == (
        f"{tmp_path}: contains 2 files that are not DICOM slices; skipped (logo.png, report.pdf). "
        "Check that no slice of the series is among them."
    )


@pytest.mark.parametrize(
    ("class_uid", "kind"),
    [
        ("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF Storage"),
        ("1.2.840.10008.5.1.4.1.1.88.67", "X-Ray Radiation Dose SR Storage"),
        ("1.2.840.10008.1.3.10", "Media Storage Directory Storage"),
        ("1.2.276.0.7230010.3.1", "unknown class"),
    ],
)
def test_other_dicom_objects_are_skipped_by_their_kind(class_uid: str, kind: str, tmp_path: Path) -> None:
    write_ct(tmp_path / "scan")
    write_slice(tmp_path / "other" / "0.dcm", (0, 0, 0), uid=OTHER_UID)

    def change(content: object, _: int) -> None:
        content.SOPClassUID = content.file_meta.MediaStorageSOPClassUID = class_uid  # type: ignore[attr-defined]
        for name in ("PixelData", "ImagePositionPatient", "Rows", "Columns", "SamplesPerPixel"):
            delattr(content, name)

    edit(tmp_path / "other", change)
    series, (found,) = find_series(tmp_path)
    assert series.num_slices == 4
    assert f"contains 1 file that is not a DICOM slice; skipped (other/0.dcm [{kind}])" in found.problem


def test_a_folder_of_other_dicom_objects_is_refused_by_their_kind(tmp_path: Path) -> None:
    write_slice(tmp_path / "0.dcm", (0, 0, 0))

    def change(content: object, _: int) -> None:
        content.SOPClassUID, content.SamplesPerPixel = "1.2.840.10008.5.1.4.1.1.7", 3  # type: ignore[attr-defined]

    edit(tmp_path, change)
    with pytest.raises(
        DataError, match=r"no DICOM slices, only other objects \(0\.dcm \[Secondary Capture Image Storage\]\)"
    ):
        list_series(tmp_path)


def test_messages_hide_folders_that_are_named_by_a_patient(tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "DOE^JOHN" / "1.2.840.113.7" / "scan")
    with pytest.raises(DataError) as caught:
        find_series(folder, 2)
    (found,) = caught.value.findings
    assert found.file == str(tmp_path / "[hidden]" / "[hidden]" / "scan")


def test_a_listed_series_contains_nothing_of_the_patient(tmp_path: Path) -> None:
    write_ct(tmp_path)
    assert b"Doe^Jane" in (tmp_path / "0.dcm").read_bytes()
    (series,) = list_series(tmp_path)
    assert not any(secret in repr(series) + repr(series.slices) for secret in PATIENT.values())
