"""Copy the patient and the study of a DICOM file to another object, without quoting a value.

Values are copied as they are, malformed ones too, because an archive matches objects by them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.config import RAISE
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

if TYPE_CHECKING:  # highdicom is optional
    from highdicom.base import SOPClass

BLANK_KEYWORDS = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
"""Attributes of the patient and the study that every object must have, if only empty."""

_TEXTS = ("AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UI", "UT")
_GROUPS = (0x0008, 0x0010, 0x0012, 0x0020, 0x0032, 0x0038)
"""Groups of attributes of the patient, the study, the clinical trial and the visit."""


def copy_patient_and_study(path: Path, target: SOPClass) -> list[str]:
    """Copy all patient and study attributes of a file, within `quiet_dicom_libraries`.

    Args:
        path: DICOM file.
        target: object to complete; attributes that the file lacks stay as they are.

    Returns:
        keywords of the malformed attributes; those that cannot even be decoded are not copied.
    """
    source = dcmread(path, stop_before_pixels=True, force=True)
    for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"):
        setattr(source, name, target[name].value)
    malformed = [tag for tag in list(source.keys()) if tag.group in _GROUPS and not _is_well_formed(source, tag)]
    target.copy_patient_and_study_information(source)
    return sorted(keyword_for_tag(tag) for tag in malformed if tag in target or tag not in source)


def _is_well_formed(source: Dataset, tag: Any) -> bool:
    """Whether an element can be decoded and has a valid value; one that cannot be decoded is removed."""
    try:
        element = source[tag]
        str(element.value)
    except Exception:  # the message would quote the value
        del source[tag]
        return False
    if element.VR in ("DS", "IS"):
        return not isinstance(element.value, str | bytes)  # pydicom keeps the text if it is not a number
    if element.VR not in _TEXTS:
        return True
    try:
        for value in element.value if element.VM > 1 else [element.value]:
            validate_value(element.VR, value, RAISE)
    except Exception:  # the message would quote the value
        return False
    return element.VM <= 1 or element.VR != "PN"
