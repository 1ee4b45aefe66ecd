"""A DICOM folder gives one whole CT volume, or says which series it holds, what is wrong and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813, its usual name

from i2net_bundle.io.dicom.series import list_series
from i2net_bundle.io.dicom.volume import read_series, series_findings
from i2net_bundle.io.findings import DataError, Severity
from i2net_bundle.io.options import VolumeOptions

CT_UID, OTHER_UID, SCOUT_UID = "1.2.3.4", "1.2.3.5", "1.2.3.6"
AXIAL, CORONAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1)
FILE_UID = "1.3.12.2.1107.5.1"
PATIENT = {"0010|0010": "Doe^Jane", "0010|0020": "JD-4711", "0010|0030": "19700131"}
DESCRIPTION = "Arterial Doe"
SECRETS = (*PATIENT.values(), CT_UID, OTHER_UID, SCOUT_UID, FILE_UID, DESCRIPTION)
"""What no message, table or file name may hold."""
SPACING_MM = (0.8, 0.9)


def write_slice(
    path: Path,
    position: Sequence[float],
    uid: str = CT_UID,
    orientation: Sequence[float] = AXIAL,
    value: int = 40,
    size: tuple[int, int] = (6, 5),
    **headers: str,
) -> None:
    """Save one slice of a constant HU value, ``size`` being (columns, rows)."""
    tags = {
        "modality": "0008|0060",
        "image_type": "0008|0008",
        "description": "0008|103e",
        "intercept": "0028|1052",
        "slope": "0028|1053",
    }
    defaults = {
        "modality": "CT",
        "image_type": "ORIGINAL\\PRIMARY\\AXIAL",
        "description": "Abdomen",
        "intercept": "-1024",
        "slope": "1",
    }
    image = sitk.GetImageFromArray(np.full(size[::-1], value, np.int16))
    image.SetSpacing(SPACING_MM)
    content = {tags[name]: text for name, text in {**defaults, **headers}.items()} | PATIENT
    content |= {"0020|000d": "1.2.3", "0020|000e": uid, "0020|0052": "1.2.9"}
    content |= {"0020|0032": "\\".join(map(str, position)), "0020|0037": "\\".join(map(str, orientation))}
    for tag, text in content.items():
        image.SetMetaData(tag, text)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)


def write_ct(folder: Path, heights_mm: Sequence[float] = (0, 5, 10, 15), **how: Any) -> Path:
    """Save an axial series as 0.dcm, 1.dcm, … with the slice's number as its HU value."""
    for number, height in enumerate(heights_mm):
        write_slice(folder / f"{number}.dcm", (-3, -2, height), value=number, **how)
    return folder


def write_scout(folder: Path, **how: Any) -> None:
    write_slice(folder / "scout.dcm", (-3, -2, 20), uid=SCOUT_UID, orientation=CORONAL, description="Topogram", **how)


def tilted(folder: Path) -> None:
    """A gantry tilted by 15° about the patient's x axis while the table moves along z."""
    tilt = np.deg2rad(15)
    write_ct(folder, orientation=(1, 0, 0, 0, round(np.cos(tilt), 6), round(-np.sin(tilt), 6)))


def of_two_sizes(folder: Path) -> None:
    write_ct(folder)
    write_slice(folder / "4.dcm", (-3, -2, 20), size=(7, 5))


def truncated(folder: Path) -> None:
    write_ct(folder)
    content = (folder / "3.dcm").read_bytes()
    (folder / "3.dcm").write_bytes(content[:-20])


def multiframe(folder: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((3, 5, 6), np.int16))
    for tag, text in {"0008|0060": "CT", "0020|000e": CT_UID, **PATIENT}.items():
        image.SetMetaData(tag, text)
    folder.mkdir()
    sitk.WriteImage(image, str(folder / "0.dcm"), imageIO="GDCMImageIO")


def named_by_uids(folder: Path) -> None:
    """Rename the slices as archives do."""
    for number, path in enumerate(sorted(folder.rglob("*.dcm"))):
        path.rename(path.with_name(f"CT.{FILE_UID}.{number}"))


def two_series(folder: Path) -> None:
    write_ct(folder / "portal")
    write_ct(folder / "arterial", (0, 3), uid=OTHER_UID, description=DESCRIPTION)
    write_scout(folder)


def test_a_series_is_read_in_hu_with_its_geometry_whatever_the_file_names(tmp_path: Path) -> None:
    write_ct(tmp_path, (15, 0, 10, 5))
    image = read_series(tmp_path)
    assert image.GetSize() == (6, 5, 4)
    assert image.GetSpacing() == pytest.approx((*SPACING_MM, 5))
    assert image.GetOrigin() == pytest.approx((-3, -2, 0))
    assert image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert sitk.GetArrayFromImage(image)[:, 0, 0].tolist() == [1, 3, 2, 0]  # 0.dcm lies highest


def test_the_rescale_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    write_slice(tmp_path / "0.dcm", (0, 0, 0), value=40, intercept="-1000", slope="2")
    assert (tmp_path / "0.dcm").read_bytes()[-2:] == (520).to_bytes(2, "little")  # (40 + 1000) / 2
    assert set(sitk.GetArrayFromImage(read_series(tmp_path)).ravel()) == {40}


def test_series_are_listed_with_what_tells_them_apart(tmp_path: Path) -> None:
    two_series(tmp_path)
    (tmp_path / "README.txt").write_text("no DICOM")
    listed = {series.uid: series for series in list_series(tmp_path)}
    assert listed.keys() == {CT_UID, OTHER_UID, SCOUT_UID}
    series = listed[OTHER_UID]
    assert (series.description, series.modality, series.num_slices, series.size) == (DESCRIPTION, "CT", 2, (6, 5))
    assert listed[SCOUT_UID].plane == "coronal" and series.plane == "axial"
    assert series.spacing_mm == pytest.approx((*SPACING_MM, 3))
    assert [uid for uid, series in listed.items() if series.is_localizer] == [SCOUT_UID]


def test_the_only_series_besides_localisers_is_chosen(tmp_path: Path) -> None:
    write_ct(tmp_path / "ct")
    write_scout(tmp_path / "not axial")
    declared = {"image_type": "ORIGINAL\\PRIMARY\\LOCALIZER", "description": "Scout"}
    write_ct(tmp_path / "declared", (0, 5, 10), uid=OTHER_UID, **declared)
    assert read_series(tmp_path).GetSize() == (6, 5, 4)


@pytest.mark.parametrize(
    ("chosen", "slices"), [(CT_UID, 4), (OTHER_UID, 2), (SCOUT_UID, 1), (1, 2), (2, 4), (3, 1)], ids=str
)
def test_a_series_is_chosen_by_its_number_or_its_uid(chosen: int | str, slices: int, tmp_path: Path) -> None:
    two_series(tmp_path)
    assert read_series(tmp_path, chosen).GetSize()[2] == slices


def test_a_series_number_may_come_as_text_and_counts_from_1() -> None:
    assert (VolumeOptions(series="2").series, VolumeOptions(series="1.2.3").series) == (2, "1.2.3")
    with pytest.raises(ValueError, match="series must be a number from 1 or a UID, got 0"):
        VolumeOptions(series="0")


def test_a_series_in_the_folder_itself_goes_before_those_of_folders_below(tmp_path: Path) -> None:
    write_ct(tmp_path)
    write_ct(tmp_path / "below", (0, 3), uid=OTHER_UID)
    assert read_series(tmp_path).GetSize()[2] == 4
    write_slice(tmp_path / "below" / "more.dcm", (-3, -2, 20))  # of the folder's own series
    with pytest.raises(DataError, match="holds 2 series that could be meant"):
        read_series(tmp_path)


def test_a_series_whose_uid_was_removed_goes_by_its_folder(tmp_path: Path) -> None:
    write_ct(tmp_path / "a", uid="")
    write_ct(tmp_path / "b", (0, 3), uid="")
    assert {series.uid: series.num_slices for series in list_series(tmp_path)} == {"a": 4, "b": 2}
    assert read_series(tmp_path, "b").GetSize()[2] == 2


def test_a_slice_off_by_less_than_a_tenth_of_the_spacing_is_allowed(tmp_path: Path) -> None:
    write_ct(tmp_path, (0, 5.4, 10, 15))
    assert read_series(tmp_path).GetSpacing()[2] == pytest.approx(5)


def test_a_description_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    write_ct(tmp_path, description="Abd\x1b[31mömen")
    (series,) = list_series(tmp_path)
    assert series.description == "Abd?[31mömen"


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda folder: None, r"scan: is no folder\. Pass the folder that holds the DICOM files"),
    "no DICOM": (
        lambda folder: (folder.mkdir(), (folder / "a.txt").write_text("text")),
        r"scan: holds no DICOM images\. Pass the folder",
    ),
    "several series": (
        two_series,
        r"scan: holds 2 series that could be meant\. Pass this folder with --series NUMBER; `i2net series FOLDER` "
        r"shows descriptions and UIDs\.\n"
        r"  1\. CT, 2 slices of 6 × 5, 0\.8 × 0\.9 × 3 mm, axial\n"
        r"  2\. CT, 4 slices of 6 × 5, 0\.8 × 0\.9 × 5 mm, axial\n"
        r"  3\. CT, 1 slice of 6 × 5, 0\.8 × 0\.9 × 1 mm, coronal, localiser$",
    ),
    "only a localiser": (
        write_scout,
        r"scan: holds only localisers\. Pass this folder with --series NUMBER; .*\n  1\. CT, 1 slice",
    ),
    "missing slice": (
        lambda folder: write_ct(folder, (0, 5, 10, 20, 25)),
        r"scan: misses slices or is spaced irregularly: 10 mm between slices 3 and 4 "
        r"\(at 10\.0 and 20\.0 mm\), and mostly 5 mm\. Export the",
    ),
    "irregular spacing": (
        lambda folder: write_ct(folder, (0, 5, 10.8, 15, 20)),
        r"scan: misses slices or is spaced irregularly: 5\.8 mm between slices 2 and 3 "
        r"\(at 5\.0 and 10\.8 mm\), .*\. Export the whole",
    ),
    "duplicates": (
        lambda folder: write_ct(folder, (0, 5, 5, 10, 10)),
        r"scan: has slices at one position, 2 more than positions: slices 2 and 3 "
        r"\(at 5\.0 and 5\.0 mm\)\. Keep one of each",
    ),
    "gantry tilt": (tilted, r"scan: was taken with the gantry tilted by 15\.0°\. Convert it with dcm2niix"),
    "modality": (
        lambda folder: write_ct(folder, modality="MR"),
        r"scan: has modality MR, not CT\. Choose a CT series",
    ),
    "two sizes": (
        of_two_sizes,
        r"scan: mixes slices of different size.*: slices 1 and 5 \(at 0\.0 and 20\.0 mm\) are 6 × 5, .*, "
        r"and 7 × 5, .*\. Keep the slices",
    ),
    "multi-frame": (multiframe, r"scan: has 3 slices in one file\. Convert it with dcm2niix"),
    "truncated": (
        truncated,
        r"scan: holds 1 slice that cannot be read: truncated or damaged \(3\.dcm\)\. Copy or export",
    ),
    "truncated, named by UIDs": (
        lambda folder: (truncated(folder), named_by_uids(folder)),
        r"scan: holds 1 slice that cannot be read: truncated or damaged\. Copy or export",
    ),
}


@pytest.mark.parametrize(("write", "message"), FAULTS.values(), ids=FAULTS)
def test_a_folder_that_gives_no_whole_volume_is_refused_without_a_word_on_the_patient(
    write: Callable[[Path], object],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(tmp_path / "scan")
    with pytest.raises(DataError, match=message) as caught:
        read_series(tmp_path / "scan")
    assert {finding.severity for finding in caught.value.findings} == {Severity.ERROR}
    told = str(caught.value) + repr(caught.value.findings) + "".join(capfd.readouterr()) + caplog.text
    assert not any(secret in told for secret in SECRETS)


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        ("9.9.8.7", r"holds no series of the UID that was chosen"),
        (2, r"holds 1 series, and number 2 is none of them"),
    ],
)
def test_an_unknown_series_is_refused_with_the_list_and_without_uids(
    chosen: int | str, problem: str, tmp_path: Path
) -> None:
    write_ct(tmp_path)
    with pytest.raises(
        DataError, match=rf"{problem}\. Pass this folder with --series .*\n  1\. CT, 4 slices"
    ) as caught:
        read_series(tmp_path, chosen)
    assert not any(secret in str(caught.value) for secret in (*SECRETS, "9.9.8.7"))


def test_messages_tell_a_folder_that_is_named_by_a_patient_by_its_place_only(tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "DOE^JOHN" / "1.2.840.113.7" / "scan", modality="MR")
    with pytest.raises(DataError) as caught:
        read_series(folder)
    (found,) = caught.value.findings
    assert found.file == str(tmp_path / "[hidden]" / "[hidden]" / "scan")


def test_what_is_returned_says_nothing_of_the_patient(tmp_path: Path) -> None:
    write_ct(tmp_path)
    assert b"Doe^Jane" in (tmp_path / "0.dcm").read_bytes()
    (series,) = list_series(tmp_path)
    image = read_series(tmp_path)
    told = repr(series) + repr(series.slices) + str(image)
    assert not any(secret in told for secret in PATIENT.values())
    assert image.GetMetaDataKeys() == ()


def test_every_fault_of_a_series_is_returned(tmp_path: Path) -> None:
    for number, height in enumerate((0, 5, 15, 20)):
        write_slice(tmp_path / f"{number}.dcm", (-3, -2 + 0.1 * height, height), modality="PT")
    (series,) = list_series(tmp_path)
    rules = [finding.rule for finding in series_findings(tmp_path, series)]
    assert rules == ["dicom-modality", "dicom-tilt", "dicom-spacing"]


def test_the_real_series_equals_its_nifti_file(shared: Path) -> None:
    folder = shared / "data" / "ct"
    image = sitk.DICOMOrient(read_series(folder / "abdomen_20slices_dicom"), "LPS")
    expected = sitk.DICOMOrient(sitk.ReadImage(str(folder / "abdomen_20slices_ct.nii.gz")), "LPS")
    assert image.GetSize() == expected.GetSize() == (512, 512, 20)
    assert image.GetSpacing() == pytest.approx(expected.GetSpacing(), abs=1e-5)
    assert image.GetOrigin() == pytest.approx(expected.GetOrigin(), abs=1e-3)
    assert image.GetDirection() == pytest.approx(expected.GetDirection(), abs=1e-6)
    assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(expected))


def test_a_slice_taken_from_the_real_series_is_missed(shared: Path, tmp_path: Path) -> None:
    files = sorted((shared / "data" / "ct" / "abdomen_20slices_dicom").iterdir())
    for file in files[:9] + files[10:]:
        shutil.copy(file, tmp_path)
    with pytest.raises(DataError, match=r"misses slices or is spaced irregularly: 4 mm between .* and mostly 2 mm"):
        read_series(tmp_path)


def test_a_slice_of_the_real_series_with_damaged_pixels_is_named(shared: Path, tmp_path: Path) -> None:
    files = sorted((shared / "data" / "ct" / "abdomen_20slices_dicom").iterdir())[:3]
    for number, file in enumerate(files):
        content = file.read_bytes()
        (tmp_path / f"{number}.dcm").write_bytes(content[:-2000] + bytes(2000) if number == 1 else content)
    with pytest.raises(
        DataError, match=r"holds 1 slice that cannot be decoded: damaged, .* \(1\.dcm\)\. Copy or export"
    ):
        read_series(tmp_path)
