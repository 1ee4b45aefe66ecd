"""Read NRRD and MetaImage files.

ITK assumes 1 mm and the patient's axes for whatever a header omits. This module therefore reads the headers too, and
refuses missing geometry as it does for NIfTI.
"""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813  the library's own abbreviation

from i2net_bundle.io.findings import DataError, Finding, enforce, error, warning
from i2net_bundle.io.formats import is_nrrd
from i2net_bundle.io.geometry import is_sheared, size_findings
from i2net_bundle.io.nifti import channel_count_finding, refuse_other_content, stacked
from i2net_bundle.io.options import VolumeOptions

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SMALLEST_DETERMINANT = 1e-9
_HEADER_BYTES = 2**16
_SPACES = ("left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior", "las")
"""NRRD spaces that ITK converts to its own."""
_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_CORRECT = "Correct the header from the scan's own record, or convert the DICOM series again."


def read_itk(
    path: str | Path, options: VolumeOptions, needs_orientation: bool = True, num_volumes: int = 1
) -> tuple[nib.Nifti1Image, list[Finding]]:
    """Read an NRRD or MetaImage file as one 3D volume in mm, or as several on one grid.

    Args:
        path: ``.nrrd``, ``.nhdr``, ``.mha`` or ``.mhd``.
        options: what the user declares.
        needs_orientation: whether the header must record spacing and orientation.
        num_volumes: number of volumes required, one per channel; with 1, a single one or the one chosen in ``options``.

    Returns:
        the image (X, Y, Z), or (X, Y, Z, C) for several volumes, in the file's voxel order, with its affine to RAS mm;
        and the warnings.

    Raises:
        DataError: the file cannot be read, or is ambiguous and ``options`` does not settle it.
    """
    refuse_other_content(Path(path))
    reader = _open(path)
    if needs_orientation:
        header = read_header(path)
        enforce(_nrrd_findings(path, header) if is_nrrd(path) else _metaimage_findings(path, header))
    read = _read(reader, path)
    if num_volumes > 1:
        count = _count(read)
        if count != num_volumes:
            raise DataError([channel_count_finding(path, count, options.channels)])
        parts = [as_nifti(_single_volume(read, path, number), path) for number in range(count)]
        image = stacked(parts)
    else:
        image = as_nifti(_single_volume(read, path, options.volume), path)
    findings = size_findings(path, image.affine)
    if is_sheared(image.affine):
        remedy = "The affine is kept. Check the header: scanners do not write sheared axes."
        findings.append(warning("shear", path, "has axes that are not at right angles (a sheared affine)", remedy))
    return image, findings


def read_header(path: str | Path) -> dict[str, str]:
    """Read the fields of an NRRD header (names in lower case) or a MetaImage header (names as written)."""
    with open(path, "rb") as file:
        text = file.read(_HEADER_BYTES).decode("latin-1")
    fields = {}
    nrrd = is_nrrd(path)
    for line in text.splitlines():
        name, separator, value = line.partition(":" if nrrd else "=")
        name = name.strip().lower() if nrrd else name.strip()
        if separator:
            fields[name] = value.strip()
        if (nrrd and not line.strip()) or name == "ElementDataFile":
            break  # voxels follow
    return fields


def voxel_file(path: str | Path) -> str | None:
    """Return the file name of the voxels that a header names; None where header and voxels share a file."""
    header = read_header(path)
    name = header.get("data file", header.get("datafile")) if is_nrrd(path) else header.get("ElementDataFile")
    return None if name in (None, "LOCAL") else name


def as_nifti(image: sitk.Image, path: str | Path) -> nib.Nifti1Image:
    """Convert a SimpleITK volume (LPS) to nibabel (RAS); the voxel order does not change.

    Raises:
        DataError: its spacing or direction is unusable.
    """
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < _SMALLEST_DETERMINANT:
        problem = f"has an unusable geometry (spacing {image.GetSpacing()})"
        raise DataError([error("orientation", path, problem, "Correct the header, or convert the scan again.")])
    voxels = np.ascontiguousarray(sitk.GetArrayViewFromImage(image).T)
    volume = nib.Nifti1Image(voxels, _LPS_TO_RAS @ affine, dtype=np.float32)  # the data type that saving would use
    volume.header.set_xyzt_units("mm")
    return volume


def _nrrd_findings(path: str | Path, header: dict[str, str]) -> list[Finding]:
    if "space directions" not in header and "spacings" not in header:
        return [error("spacing", path, "does not record its spacing (no 'space directions')", _CORRECT)]
    units = [unit for unit in re.findall(r'"([^"]*)"', header.get("space units", "")) if unit not in ("mm", "")]
    if units:
        remedy = "Write it in mm: ITK ignores the units."
        return [error("units", path, f"records its spacing in {units[0]}", remedy)]
    space = header.get("space", "").lower()
    if space in _SPACES and "space directions" in header:
        return []
    said = f"its space is '{space}'" if space and space not in _SPACES else "no 'space' or no 'space directions'"
    remedy = (
        "Add 'space: left-posterior-superior' if that is right, or convert the DICOM series again; a label "
        "without one can use its image's (geometry: image)."
    )
    return [error("no-orientation", path, f"does not record its orientation in the patient ({said})", remedy)]


def _metaimage_findings(path: str | Path, header: dict[str, str]) -> list[Finding]:
    spacing = header.get("ElementSpacing", header.get("ElementSize"))
    if spacing is None:
        return [error("spacing", path, "does not record its spacing (no ElementSpacing)", _CORRECT)]
    if not all(_is_positive(side) for side in spacing.split()):
        return [error("spacing", path, f"has the spacing {' x '.join(spacing.split())}", _CORRECT)]
    if any(name in header for name in _MATRICES):
        return []
    remedy = (
        "Add 'TransformMatrix = 1 0 0 0 1 0 0 0 1' if its axes run to the patient's left, back and head, or convert "
        "the DICOM series again; a label without one can use its image's (geometry: image)."
    )
    return [error("no-orientation", path, "does not record its orientation (no TransformMatrix)", remedy)]


def _is_positive(number: str) -> bool:
    try:
        return 0 < float(number) < np.inf
    except ValueError:
        return False


def _open(path: str | Path) -> sitk.ImageFileReader:
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # its warnings are reported here instead
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as cause:
        reason = str(cause).strip().splitlines()[-1].strip()
        raise DataError([error("unreadable", path, f"cannot be read ({reason})", "Download it again.")]) from cause
    return reader


def _read(reader: sitk.ImageFileReader, path: str | Path) -> sitk.Image:
    try:
        image = reader.Execute()
    except RuntimeError as cause:
        if "determinant is 0" in str(cause):
            raise DataError([error("orientation", path, "has a degenerate matrix of directions", _CORRECT)]) from cause
        if "spacing" in str(cause):
            raise DataError(
                [error("spacing", path, "has a spacing that is not a positive number", _CORRECT)]
            ) from cause
        beside = voxel_file(path)
        where = "" if beside is None else f" in {beside}, which it names,"
        problem = f"is truncated or damaged: its voxels{where} cannot be read"
        raise DataError([error("truncated", path, problem, "Download or copy all of it again.")]) from cause
    if image.GetNumberOfComponentsPerPixel() > 1 and "vector" not in image.GetPixelIDTypeAsString():
        raise DataError([error("complex", path, "holds complex numbers", "Give the magnitudes, or the CT itself.")])
    return image


def _single_volume(image: sitk.Image, path: str | Path, volume: int | None) -> sitk.Image:
    """Select the chosen volume; several are stored along a fourth axis, or as numbers per voxel."""
    if image.GetDimension() not in (3, 4):
        remedy = "Convert it to a volume of one slice, with its spacing, first."
        raise DataError([error("shape", path, f"has {image.GetDimension()} axes", remedy)])
    by_voxel = image.GetNumberOfComponentsPerPixel() > 1
    count = _count(image)
    if count > 1 and (volume is None or not 0 <= volume < count):
        chosen = "" if volume is None else f", and volume {volume} is none of them"
        remedy = f"Choose one with volume, 0 to {count - 1} (--volume of i2net)."
        raise DataError([error("4d", path, f"holds {count} volumes or numbers per voxel{chosen}", remedy)])
    if by_voxel:
        return sitk.VectorIndexSelectionCast(image, volume)
    return image[:, :, :, volume or 0] if image.GetDimension() == 4 else image


def _count(image: sitk.Image) -> int:
    """Count the volumes of an image, along a fourth axis or as numbers per voxel."""
    if image.GetNumberOfComponentsPerPixel() > 1:
        return int(image.GetNumberOfComponentsPerPixel())
    return int((*image.GetSize(), 1, 1)[3]) if image.GetDimension() > 3 else 1
