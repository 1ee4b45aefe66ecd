"""Write small DICOM series, complete and faulty, for the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813  the library's own abbreviation
from pydicom.uid import CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage

CT_UID, OTHER_UID, SCOUT_UID = "1.2.3.4", "1.2.3.5", "1.2.3.6"
AXIAL, CORONAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1)
FILE_UID = "1.3.12.2.1107.5.1"
PATIENT = {"0010|0010": "Doe^Jane", "0010|0020": "JD-4711", "0010|0030": "19700131"}
DESCRIPTION = "Arterial Doe"
SECRETS = (*PATIENT.values(), CT_UID, OTHER_UID, SCOUT_UID, FILE_UID, DESCRIPTION)
"""Values that no message, table or file name may contain."""
SPACING_MM = (0.8, 0.9)
_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}


def write_slice(
    path: Path,
    position: Sequence[float],
    uid: str = CT_UID,
    orientation: Sequence[float] = AXIAL,
    value: int = 40,
    size: tuple[int, int] = (6, 5),
    modality: str = "CT",
    **headers: str,
) -> None:
    """Write one slice (columns, rows) with a constant HU value."""
    tags = {
        "image_type": "0008|0008",
        "description": "0008|103e",
        "intercept": "0028|1052",
        "slope": "0028|1053",
        "thickness": "0018|0050",
    }
    defaults = {
        "image_type": "ORIGINAL\\PRIMARY\\AXIAL",
        "description": "Abdomen",
        "intercept": "-1024",
        "slope": "1",
        "thickness": "4",
    }
    image = sitk.GetImageFromArray(np.full(size[::-1], value, np.int16))
    image.SetSpacing(SPACING_MM)
    content = {tags[name]: text for name, text in {**defaults, **headers}.items()} | PATIENT
    content |= {"0008|0060": "CT", "0020|000d": "1.2.3", "0020|000e": uid, "0020|0052": "1.2.9"}
    content |= {"0020|0032": "\\".join(map(str, position)), "0020|0037": "\\".join(map(str, orientation))}
    for tag, text in content.items():
        image.SetMetaData(tag, text)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)
    content = pydicom.dcmread(path)
    content.RescaleType = "HU"  # GDCM writes "US", unspecified
    content.Modality = modality  # GDCM may write other modalities as multi-frame objects, without their geometry
    content.SOPClassUID = content.file_meta.MediaStorageSOPClassUID = _CLASSES[modality]
    content.save_as(path)


def write_ct(folder: Path, heights_mm: Sequence[float] = (0, 5, 10, 15), **how: Any) -> Path:
    """Write an axial series as 0.dcm, 1.dcm, …; the HU of a slice is its number."""
    for number, height in enumerate(heights_mm):
        write_slice(folder / f"{number}.dcm", (-3, -2, height), value=number, **how)
    return folder


def write_scout(folder: Path, **how: Any) -> None:
    write_slice(folder / "scout.dcm", (-3, -2, 20), uid=SCOUT_UID, orientation=CORONAL, description="Topogram", **how)


def tilted(folder: Path) -> None:
    """Write a series whose gantry is tilted by 15° about the x axis while the table moves along z."""
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
    """Rename the slices by UIDs, as archives do."""
    for number, path in enumerate(sorted(folder.rglob("*.dcm"))):
        path.rename(path.with_name(f"CT.{FILE_UID}.{number}"))


def two_series(folder: Path) -> None:
    write_ct(folder / "portal")
    write_ct(folder / "arterial", (0, 3), uid=OTHER_UID, description=DESCRIPTION)
    write_scout(folder)


def edit(folder: Path, change: Callable[[pydicom.Dataset, int], object]) -> Path:
    """Change the attributes of every slice; ``change`` gets the attributes and the slice's number from 0."""
    for number, path in enumerate(sorted(folder.glob("*.dcm"))):
        content = pydicom.dcmread(path)
        change(content, number)
        content.save_as(path)
    return folder


def malformed_ct(folder: Path) -> Path:
    """Write a CT whose patient has a birth date and an ID that break DICOM's rules."""

    def spoil(content: pydicom.Dataset, _: int) -> None:
        with pydicom.config.disable_value_validation():
            content.PatientBirthDate, content.PatientID = "born Doe^Jane", "JD-4711" * 20

    return edit(write_ct(folder), spoil)
