"""Read what describes the image of a DICOM file with pydicom, and no attribute of the patient.

A file may lack the preamble of 128 bytes. The size that a header claims is compared with what the file stores, so that
a damaged file cannot make a decoder allocate gigabytes.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.tag import Tag
from pydicom.uid import UID, ImplicitVRLittleEndian

from i2net_bundle.io.dicom.dicom_slice import DicomSlice, OtherObject, Vector

_SUFFIXES = (".dcm", ".ima")
_KEYWORDS = (
    *("SOPClassUID", "SeriesInstanceUID", "SeriesDescription", "Modality", "ImageType", "NumberOfFrames"),
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PhotometricInterpretation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"),
)
_TAGS = [Tag(keyword) for keyword in _KEYWORDS]
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_SLICE_CLASSES = ("2", "4", "128")
"""Storage of CT, MR and PET images; their multi-frame classes have one more component."""
_SLICE_UID = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(2|4|128)[\0 .]")
VOLUME_MODALITIES = ("CT", "MR", "PT")
"""Modalities whose images are volumes."""
_OTHER_MODALITIES = ("SEG", "PR", "KO", "SR", "DOC", "REG", "RTDOSE", "RTSTRUCT", "RTPLAN", "RTRECORD")
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""Groups that begin a file without a preamble, in either byte order."""
_MAX_FIRST_ELEMENT = 0x0100
_MAX_COSINE_ERROR = 1e-3
_ELEMENT_HEADER_BYTES = 8
"""Tag and length before the pixels, or 12 with an explicit value representation."""
_SMALL_BYTES = 64 * 2**20
_MAX_COMPRESSION = 200


class DamagedFileError(ValueError):
    """A DICOM file cannot be read; the message gives the reason without any value from the file."""


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, judged by its suffix or its first bytes, with or without a preamble.

    Hidden files are ignored, among them the resource forks that macOS writes beside files (``._IM0001.dcm``).
    """
    return _is_candidate(path) and _is_dicom(path, _start(path))


def read_header(path: Path) -> DicomSlice | OtherObject | None:
    """Read the header of a file, within `quiet_dicom_libraries`.

    Returns:
        the slice, another DICOM object, or None if the file is not DICOM.

    Raises:
        DamagedFileError: the file is a slice by its suffix or first bytes, but it cannot be read.
    """
    if not _is_candidate(path):
        return None
    start = _start(path)
    if not _is_dicom(path, start):
        return None
    try:
        return _read(path, start)
    except DamagedFileError:
        if _has_suffix(path) or _SLICE_UID.search(start):
            raise
        return OtherObject(path, "damaged") if _has_preamble(start) else None  # else a match by chance


def allowed_bytes(file_bytes: int) -> int:
    """Return the largest decoded size that is plausible for compressed files of ``file_bytes`` in all."""
    return _SMALL_BYTES + _MAX_COMPRESSION * file_bytes


def _is_candidate(path: Path) -> bool:
    return not path.name.startswith(".") and path.is_file()


def _has_suffix(path: Path) -> bool:
    return path.name.lower().endswith(_SUFFIXES)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1024)


def _has_preamble(start: bytes) -> bool:
    return start[128:132] == b"DICM"


def _is_dicom(path: Path, start: bytes) -> bool:
    element = int.from_bytes(start[2:4], "big" if start[:1] == b"\0" else "little")
    may_lack_preamble = start[:2] in _FIRST_GROUPS and element < _MAX_FIRST_ELEMENT
    return _has_suffix(path) or _has_preamble(start) or may_lack_preamble


def _read(path: Path, start: bytes) -> DicomSlice | OtherObject:
    if _DEFLATED in start:  # pydicom would inflate the whole file, whatever its size
        raise DamagedFileError("deflated as a whole")
    file_bytes = path.stat().st_size
    try:
        with path.open("rb") as file:
            content = dcmread(file, stop_before_pixels=True, specific_tags=_TAGS, force=True)
            stored_bytes = file_bytes - file.tell() - _ELEMENT_HEADER_BYTES
        class_uid = str(content.get("SOPClassUID") or content.file_meta.get("MediaStorageSOPClassUID") or "")
        is_compressed = UID(content.file_meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian).is_compressed
        modality = _text(content, "Modality")
        pixels = [int(content.get(name) or 0) for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")]
        num_frames = int(content.get("NumberOfFrames") or 1)
        bits_stored = int(content.get("BitsStored") or pixels[3])
        signed = bool(content.get("PixelRepresentation"))
    except Exception:  # damaged bytes lead pydicom to many errors, whose messages may contain values
        raise DamagedFileError("truncated or damaged") from None
    if not class_uid:
        raise DamagedFileError("truncated or damaged")
    rows, columns, samples, bits_allocated = pixels
    if not _is_slice(content, class_uid, modality, samples, num_frames):
        name = UID(class_uid).name  # the UID itself if pydicom does not know it
        return OtherObject(path, "unknown class" if name == class_uid else name)
    decoded_bytes = math.ceil(math.prod(pixels) * max(num_frames, 1) / 8)
    limit = allowed_bytes(file_bytes) if is_compressed else stored_bytes
    if min(pixels) <= 0 or num_frames < 1 or stored_bytes <= 0 or decoded_bytes > limit:
        raise DamagedFileError("truncated or damaged")
    image, faults = _attributes(content, bits_stored)
    return DicomSlice(
        path=path,
        series_uid=_text(content, "SeriesInstanceUID"),
        description=_text(content, "SeriesDescription"),
        modality=modality,
        image_type=_text(content, "ImageType"),
        size=(columns, rows),
        num_frames=num_frames,
        bits=(bits_allocated, bits_stored),
        signed=signed,
        photometric=_text(content, "PhotometricInterpretation"),
        rescale_type=_text(content, "RescaleType").upper(),
        decoded_bytes=decoded_bytes,
        file_bytes=file_bytes,
        faults=tuple(faults),
        **image,
    )


def _is_slice(content: Any, class_uid: str, modality: str, samples: int, num_frames: int) -> bool:
    """Whether an object is a slice or slices: by its class, else by its modality, colours and geometry."""
    if class_uid.startswith(_STORAGE) and class_uid.removeprefix(_STORAGE).split(".")[0] in _SLICE_CLASSES:
        return samples in (0, 1)
    if samples != 1 or modality in _OTHER_MODALITIES:
        return False
    has_geometry = all(content.get(name) for name in ("ImagePositionPatient", "ImageOrientationPatient"))
    return has_geometry or (num_frames > 1 and modality in VOLUME_MODALITIES)


def _attributes(content: Any, bits_stored: int) -> tuple[dict[str, Any], list[str]]:
    """Read the attributes that may be missing or invalid, and describe their faults."""
    faults: list[str] = []

    def numbers(keyword: str, count: int, required: bool = True) -> Vector | None:
        try:
            value = content.get(keyword)
            if value is None or value == "" or value == []:
                faults.extend([f"no {keyword}"] * required)
                return None
            found = tuple(float(item) for item in (value if count > 1 else [value]))
        except Exception:  # not a number; the message would contain the value
            found = ()
        if len(found) != count or not all(map(math.isfinite, found)):
            faults.append(f"an invalid {keyword}")
            return None
        return found

    spacing = numbers("PixelSpacing", 2)
    if spacing is not None and min(spacing) <= 0:
        faults.append(f"a PixelSpacing of {spacing[0]:g} × {spacing[1]:g} mm")
        spacing = None
    orientation = numbers("ImageOrientationPatient", 6)
    if orientation is not None and not _is_orthonormal(orientation):
        faults.append("an ImageOrientationPatient that is not two perpendicular unit vectors")
        orientation = None
    position = numbers("ImagePositionPatient", 3)
    thickness = numbers("SliceThickness", 1, required=False)
    slope, intercept = (numbers(name, 1, required=False) for name in ("RescaleSlope", "RescaleIntercept"))
    if slope is not None and slope[0] <= 0:
        faults.append(f"a RescaleSlope of {slope[0]:g}")
    high_bit = numbers("HighBit", 1, required=False)
    if high_bit is not None and high_bit[0] != bits_stored - 1:
        faults.append(f"a HighBit of {high_bit[0]:g}, which does not fit {bits_stored} BitsStored")
    if content.get("ModalityLUTSequence"):
        faults.append("a ModalityLUTSequence instead of RescaleSlope and RescaleIntercept")
    padding = numbers("PixelPaddingValue", 1, required=False)
    limit = numbers("PixelPaddingRangeLimit", 1, required=False) if padding else None
    image = {
        "spacing_mm": spacing and spacing[::-1],  # DICOM gives the distance between rows first
        "orientation": orientation,
        "position_mm": position,
        "thickness_mm": thickness[0] if thickness and thickness[0] > 0 else None,
        "rescale": ((slope or (1.0,))[0], (intercept or (0.0,))[0]) if slope or intercept else None,
        "padding": padding and (int(padding[0]), int((limit or padding)[0])),
    }
    return image, faults


def _is_orthonormal(orientation: Vector) -> bool:
    row, column = orientation[:3], orientation[3:]
    errors = (math.hypot(*row) - 1, math.hypot(*column) - 1, sum(a * b for a, b in zip(row, column, strict=True)))
    return max(map(abs, errors)) <= _MAX_COSINE_ERROR


def _text(content: Any, keyword: str) -> str:
    """Return a text attribute without padding and without characters that act on a terminal."""
    try:
        value = content.get(keyword) or ""
        text = value if isinstance(value, str) else "\\".join(map(str, value))
    except Exception:  # not text; the message would contain the value
        return ""
    return "".join(letter if letter.isprintable() else "?" for letter in text.strip(" \0"))
