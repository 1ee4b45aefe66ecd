"""A report names, measures and refers to every segment, and repeats the patient of the series."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from i2net_bundle.io.dicom.dicom_seg import write_dicom_seg
from i2net_bundle.io.dicom.dicom_sr import write_dicom_sr
from i2net_bundle.labels import classes_of
from tests.io.dicom.files import SECRETS, malformed_ct, write_ct

pytest.importorskip("highdicom", reason="needs the extra 'dicom'")

CLASSES = classes_of(["background", "liver", "left kidney", "bowel loop", "spleen", "liver tumour"])
HU = {"liver": (1.25, 55.1, 12.5), "left kidney": (0.5, 30.0, 8.0), "bowel loop": (0.25, -2.5, 4.0)}
STATISTICS = {name: dict(zip(("volume_ml", "mean_hu", "sd_hu"), values, strict=True)) for name, values in HU.items()}


def segmented(folder: Path) -> Path:
    """A DICOM-SEG of three of the classes."""
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[:2], mask[2, 1:3], mask[4, 2, 2] = 1, 2, 3
    write_dicom_seg(mask, folder, folder.parent / "mask.dcm", CLASSES)
    return folder.parent / "mask.dcm"


@pytest.fixture
def segmentation(tmp_path: Path) -> Path:
    return segmented(write_ct(tmp_path / "scan"))


def items(content: pydicom.Dataset, meaning: str) -> list[Any]:
    """Content items with a concept name, at any depth."""
    found = []
    for item in content.get("ContentSequence", []):
        if item.ConceptNameCodeSequence[0].CodeMeaning == meaning:
            found.append(item)
        found += items(item, meaning)
    return found


def written(segmentation: Path, statistics: dict[str, Any] = STATISTICS) -> pydicom.Dataset:
    path = segmentation.with_name("measurements.dcm")
    write_dicom_sr(segmentation, path, CLASSES, statistics)
    return pydicom.dcmread(path)


def test_every_segment_with_voxels_is_measured(segmentation: Path) -> None:
    report, source = written(segmentation), pydicom.dcmread(segmentation)
    groups = items(report, "Measurement Group")
    assert [items(group, "Tracking Identifier")[0].TextValue for group in groups] == list(HU)
    for group, (number, expected) in zip(groups, enumerate(HU.values(), 1), strict=True):
        values = [
            item.MeasuredValueSequence[0]
            for name in ("Volume", "Attenuation Coefficient")
            for item in items(group, name)
        ]
        assert tuple(float(value.NumericValue) for value in values) == expected
        units = [value.MeasurementUnitsCodeSequence[0].CodeValue for value in values]
        assert units == ["mL", "[hnsf'U]", "[hnsf'U]"]
        (referred,) = items(group, "Referenced Segment")[0].ReferencedSOPSequence
        assert referred.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert referred.ReferencedSegmentNumber == number
        assert items(group, "Algorithm Name")[0].TextValue == "I2Net"


def test_findings_and_sites_have_the_codes_of_the_segments(segmentation: Path) -> None:
    groups = items(written(segmentation), "Measurement Group")
    kidney = items(groups[1], "Finding Site")[0]
    assert kidney.ConceptCodeSequence[0].CodeMeaning == "Kidney"
    assert items(kidney, "Laterality")[0].ConceptCodeSequence[0].CodeMeaning == "Left"
    source = pydicom.dcmread(segmentation)
    for group, segment in zip(groups, source.SegmentSequence, strict=False):
        (kind,) = segment.SegmentedPropertyTypeCodeSequence
        assert items(group, "Finding")[0].ConceptCodeSequence[0].CodeValue == kind.CodeValue


def test_the_report_belongs_to_the_study_of_the_series(segmentation: Path) -> None:
    report, source = written(segmentation), pydicom.dcmread(segmentation)
    for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID"):
        assert report[name].value == source[name].value
    assert report.SeriesInstanceUID != source.SeriesInstanceUID
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert sorted(len(series.ReferencedSOPSequence) for series in evidence) == [1, 4]


def test_an_image_without_hu_has_volumes_only(segmentation: Path) -> None:
    report = written(segmentation, {"liver": {"volume_ml": 1.5, "mean_T2": 300.0, "sd_T2": 20.0}})
    assert len(items(report, "Volume")) == 1 and not items(report, "Attenuation Coefficient")


def test_no_malformed_value_of_the_patient_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    written(segmented(malformed_ct(tmp_path / "scan")))
    captured = capfd.readouterr()
    assert not [secret for secret in SECRETS if secret in captured.out + captured.err + caplog.text]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
def test_dciodvfy_finds_no_error(segmentation: Path) -> None:
    written(segmentation)
    for path in (segmentation, segmentation.with_name("measurements.dcm")):
        done = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")] == []
