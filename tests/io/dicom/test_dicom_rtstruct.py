"""The contours of an RT Structure Set, rasterised in the patient's coordinates by other code, are the mask."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from i2net_bundle.io.dicom import dicom_rtstruct
from i2net_bundle.io.dicom.dicom_rtstruct import write_dicom_rtstruct
from i2net_bundle.io.dicom.dicom_seg import write_dicom_seg
from i2net_bundle.labels import LabelClass, classes_of
from tests.io.dicom.files import AXIAL, SECRETS, malformed_ct, write_slice
from tests.io.dicom.structure_sets import rasterised

pytest.importorskip("highdicom", reason="needs pip install 'i2net-bundle[dicom]'")

CLASSES = classes_of(["background", "liver", "left kidney", "bowel loop", "liver tumour", "spleen"])
SIZE = (15, 12)
OBLIQUE = (0.8, 0.48, 0.36, -0.6, 0.64, 0.48)


def mask_of_four() -> np.ndarray:
    """A liver with a hole and an island in it, a kidney of two pieces, a loop at the border, a tumour of one voxel."""
    mask = np.zeros((*SIZE, 4), np.uint8)
    mask[1:9, 1:10, 1:3] = 1
    mask[3:7, 3:8, 1:3] = 0
    mask[4:6, 5:7, 1] = 1
    mask[10:13, 1:4, :3] = mask[11:14, 6:9, 1:] = 2
    mask[9:, 10:, 3] = mask[14, 0, 3] = 3
    mask[2, 2, 2] = 4
    return mask


def series(folder: Path, orientation: tuple[float, ...] = AXIAL, reverse: bool = False) -> Path:
    """A series whose slices are numbered along the normal, or against it."""
    normal = np.cross(orientation[:3], orientation[3:])
    for number in range(4):
        height = 5 * (3 - number if reverse else number)
        position = np.round(np.array([-31.7, 12.25, 88.5]) + height * normal, 6)
        write_slice(folder / f"{number}.dcm", position.tolist(), orientation=orientation, size=SIZE)
    return folder


SERIES: dict[str, Callable[[Path], Path]] = {
    "axial": series,
    "reverse": lambda folder: series(folder, reverse=True),
    "oblique": lambda folder: series(folder, OBLIQUE),
    "oblique and reverse": lambda folder: series(folder, OBLIQUE, reverse=True),
}


def written(mask: np.ndarray, folder: Path, classes: tuple[LabelClass, ...] = CLASSES) -> Path:
    path = folder.parent / "contours.dcm"
    write_dicom_seg(mask, folder, folder.parent / "mask.dcm", classes)
    write_dicom_rtstruct(folder.parent / "mask.dcm", path, classes)
    return path


@pytest.mark.parametrize("make", SERIES.values(), ids=SERIES.keys())
def test_the_contours_are_the_mask(make: Callable[[Path], Path], tmp_path: Path) -> None:
    folder, mask = make(tmp_path / "scan"), mask_of_four()
    found = rasterised(written(mask, folder), folder)
    assert list(found) == [1, 2, 3, 4]
    for number, roi in found.items():
        assert np.array_equal(roi, mask == number)  # the centres of voxels decide: a Dice of 1


def test_points_lie_half_a_voxel_around_the_centres_in_the_patient(tmp_path: Path) -> None:
    mask = np.zeros((*SIZE, 4), np.uint8)
    mask[3, 2, 1] = 1
    content = pydicom.dcmread(written(mask, series(tmp_path / "scan")))
    (contour,) = content.ROIContourSequence[0].ContourSequence
    # the voxel's centre is 3 columns of 0.8 mm, 2 rows of 0.9 mm and a slice of 5 mm from (-31.7, 12.25, 88.5)
    x, y, z = -29.3, 14.05, 93.5
    expected = {(x - 0.4, y, z), (x, y - 0.45, z), (x + 0.4, y, z), (x, y + 0.45, z)}
    points = np.reshape(contour.ContourData, (-1, 3)).astype(float)
    assert {tuple(point) for point in points.round(6).tolist()} == {tuple(np.round(p, 6).tolist()) for p in expected}
    assert contour.NumberOfContourPoints == 4 and contour.ContourGeometricType == "CLOSED_PLANAR"


def test_rois_have_the_names_codes_and_colours_of_the_segments(tmp_path: Path) -> None:
    path = written(mask_of_four(), series(tmp_path / "scan"))
    content, segments = pydicom.dcmread(path), pydicom.dcmread(tmp_path / "mask.dcm").SegmentSequence
    rois, observations = content.StructureSetROISequence, content.RTROIObservationsSequence
    drawn = content.ROIContourSequence
    for roi, observed, contours, segment in zip(rois, observations, drawn, segments, strict=False):
        assert roi.ROINumber == observed.ReferencedROINumber == contours.ReferencedROINumber == segment.SegmentNumber
        assert roi.ROIName == segment.SegmentLabel and roi.ROIGenerationAlgorithm == "AUTOMATIC"
        assert roi.ROIDerivationAlgorithmIdentificationSequence == segment.SegmentationAlgorithmIdentificationSequence
        assert observed.RTROIIdentificationCodeSequence == segment.SegmentedPropertyTypeCodeSequence
        color = "#" + "".join(f"{value:02x}" for value in contours.ROIDisplayColor)
        assert color == CLASSES[roi.ROINumber].color.lower()
    kidney = observations[1].RTROIIdentificationCodeSequence[0]
    assert kidney.CodeMeaning == "Kidney"
    assert kidney.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert [item.RTROIInterpretedType for item in observations] == ["ORGAN", "ORGAN", "ORGAN", ""]
    assert observations[3].AnatomicRegionSequence[0].CodeMeaning == "Liver"


def test_the_structure_set_belongs_to_the_study_and_refers_to_every_slice(tmp_path: Path) -> None:
    folder = series(tmp_path / "scan")
    path = written(mask_of_four(), folder)
    content, source = pydicom.dcmread(path), pydicom.dcmread(folder / "0.dcm")
    for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert content[name].value == source[name].value
    (frame,) = content.ReferencedFrameOfReferenceSequence
    (referred,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert frame.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert referred.SeriesInstanceUID == source.SeriesInstanceUID != content.SeriesInstanceUID
    slices = {pydicom.dcmread(file).SOPInstanceUID for file in folder.iterdir()}
    assert {item.ReferencedSOPInstanceUID for item in referred.ContourImageSequence} == slices


def test_a_contour_longer_than_64_kilobytes_is_read_back(tmp_path: Path) -> None:
    size = (100, 90)
    for number in range(2):
        write_slice(tmp_path / "scan" / f"{number}.dcm", (-300.125, -2, 5 * number), size=size)
    mask = (np.random.default_rng(0).random((*size, 2)) < 0.9).astype(np.uint8)  # one piece, riddled with holes
    path = written(mask, tmp_path / "scan")
    longest = max(len(item.ContourData) for item in pydicom.dcmread(path).ROIContourSequence[0].ContourSequence)
    assert 8 * longest > 2**16  # the limit of explicit VR
    assert np.array_equal(rasterised(path, tmp_path / "scan")[1], mask == 1)


def test_contours_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_rtstruct, "_MAX_POINTS", 40)
    with pytest.raises(ValueError, match=r"more than 40 points, as those of noise do"):
        written(mask_of_four(), series(tmp_path / "scan"))
    assert not (tmp_path / "contours.dcm").exists()


def test_an_empty_mask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the mask is empty"):
        written(np.zeros((*SIZE, 4), np.uint8), series(tmp_path / "scan"))


def test_no_malformed_value_of_the_patient_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    path = written(np.ones((6, 5, 4), np.uint8), malformed_ct(tmp_path / "scan"))
    captured = capfd.readouterr()
    assert not [secret for secret in SECRETS if secret in captured.out + captured.err + caplog.text]
    with pydicom.config.disable_value_validation():
        assert pydicom.dcmread(path).PatientID == "JD-4711" * 20


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
@pytest.mark.parametrize("make", SERIES.values(), ids=SERIES.keys())
def test_dciodvfy_finds_no_error(make: Callable[[Path], Path], tmp_path: Path) -> None:
    done = subprocess.run(
        ["dciodvfy", written(mask_of_four(), make(tmp_path / "scan"))], capture_output=True, text=True
    )
    assert "RTStructureSet" in done.stdout + done.stderr
    assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")] == []


def test_a_single_segment_is_contoured(tmp_path: Path) -> None:
    """A DICOM-SEG of one segment names it once for all frames."""
    folder, mask = series(tmp_path / "scan"), np.ones((*SIZE, 4), np.uint8)
    assert np.array_equal(rasterised(written(mask, folder, CLASSES[:2]), folder)[1], mask == 1)
