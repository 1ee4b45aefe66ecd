"""A DICOM-SEG copies the patient and study attributes of its series unchanged, and no library prints them."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.config import disable_value_validation
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from i2net_bundle.io.dicom.dicom_seg import write_dicom_seg
from i2net_bundle.io.privacy import quiet_dicom_libraries
from i2net_bundle.labels import classes_of
from tests.io.dicom.files import edit, write_ct

pytest.importorskip("highdicom", reason="needs pip install 'i2net-bundle[dicom]'")
CLASSES = classes_of(["background", "liver"])
MASK = np.ones((6, 5, 4), np.uint8)


def setting(folder: Path, **values: str) -> Path:
    """Write a series and set attributes to raw text, whatever their value representation allows."""

    def change(content: Any, _: int) -> None:
        for name, value in values.items():
            data = (value + " " * (len(value) % 2)).encode()
            tag = Tag(name)
            vr = pydicom.datadict.dictionary_VR(tag)
            content[tag] = RawDataElement(tag, vr, len(data), data, 0, False, True, True)

    with disable_value_validation():
        return edit(write_ct(folder), change)


@pytest.mark.parametrize(
    ("attribute", "value", "malformed"),
    [
        ("PatientName", "Mueller", False),
        ("PatientName", "Mueller\\Maier", True),
        ("PatientBirthDate", "born 3 May 1961", True),
        ("PatientAge", "about 60", True),
        ("PatientWeight", "heavy", True),
        ("PatientID", "ID" * 40, True),
        ("StudyDate", "yesterday", True),
        ("StudyTime", "noon", True),
        ("AccessionNumber", "A" * 40, True),
        ("PatientSex", "UNKNOWN", False),
        ("StudyInstanceUID", "1.2.abc", True),
        ("OtherPatientNames", "Smith", False),
    ],
)
def test_a_value_is_repeated_as_it_is_and_only_its_attribute_is_named(
    attribute: str,
    value: str,
    malformed: bool,
    tmp_path: Path,
    recwarn: pytest.WarningsRecorder,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = setting(tmp_path / "scan", **{attribute: value})
    recwarn.clear()
    with caplog.at_level(logging.DEBUG):
        write_dicom_seg(MASK, folder, tmp_path / "m.dcm", CLASSES)
    reported = caplog.text + "".join(capfd.readouterr()) + "".join(str(item.message) for item in recwarn)
    assert value not in reported
    assert (f"malformed attributes ({attribute})" in reported) is malformed
    with disable_value_validation():
        content = pydicom.dcmread(tmp_path / "m.dcm")
        raw = content.get_item(attribute).value
    assert raw.decode().strip(" \0") == value


def test_an_error_of_highdicom_is_reported_without_its_words(tmp_path: Path) -> None:
    folder = setting(tmp_path / "scan", LossyImageCompression="Mueller", ImageType="Mueller")
    edit(folder, lambda content, _: content.pop("FrameOfReferenceUID"))
    with pytest.raises(ValueError, match=r"a DICOM-SEG requires \(no FrameOfReferenceUID\)") as caught:
        write_dicom_seg(MASK, folder, tmp_path / "m.dcm", CLASSES)
    assert "Mueller" not in str(caught.value) and caught.value.__suppress_context__


def test_libraries_are_silent_within_the_context_and_as_before_after_it(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom", "highdicom.base")]
    with caplog.at_level(logging.DEBUG), quiet_dicom_libraries():
        for logger in loggers:
            logger.error("Mueller")
        warnings.warn("Mueller", stacklevel=1)
    assert not caplog.records and not recwarn.list
    for logger in loggers:
        logger.error("after")
    assert len(caplog.records) == 3
