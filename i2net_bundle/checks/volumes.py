"""Any file or folder that holds a CT -> one 3D volume in mm: NIfTI, NRRD, MetaImage, or a DICOM series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813  the library's own abbreviation

from i2net_bundle.checks.dicom import read_series
from i2net_bundle.checks.findings import DataError, Finding, error
from i2net_bundle.checks.nifti import HeaderOptions, read_nifti

NIFTI_SUFFIXES = (".nii", ".nii.gz")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SMALLEST_DETERMINANT = 1e-9


def is_nifti(path: str | Path) -> bool:
    """Whether a file's name says it is NIfTI."""
    return str(path).lower().endswith(NIFTI_SUFFIXES)


def is_itk(path: str | Path) -> bool:
    """Whether a file's name says it is NRRD or MetaImage."""
    return str(path).lower().endswith(ITK_SUFFIXES)


def is_volume(path: str | Path) -> bool:
    """Whether a path is one of a volume: by its name, or as a folder, which can only hold a DICOM series."""
    return str(path).lower().endswith(VOLUME_SUFFIXES) or Path(path).is_dir()


def read_volume(
    path: str | Path, options: HeaderOptions, needs_orientation: bool = True
) -> tuple[nib.Nifti1Image, list[Finding]]:
    """Read one 3D volume in mm.

    Args:
        path: file whose name ends in one of `VOLUME_SUFFIXES`, or the folder of a DICOM series.
        options: choices where the file leaves one.
        needs_orientation: see `read_nifti`.

    Returns:
        the image (X, Y, Z) in the file's own order of voxels, in memory, with its affine to RAS mm; and the warnings.

    Raises:
        DataError: the file cannot be read, or leaves a choice that ``options`` does not make.
    """
    if Path(path).is_dir():
        return _as_nifti(read_series(path, options.series), path), []
    if is_itk(path):
        return _as_nifti(_single_volume(_read_itk(path), path, options.volume), path), []
    return read_nifti(path, options, needs_orientation)


def volume_shape(path: str | Path) -> tuple[int, ...]:
    """Shape of a volume file by its header alone.

    Raises:
        Exception: whatever the reader of a damaged file raises.
    """
    if is_nifti(path):
        image: Any = nib.load(path)
        return tuple(image.shape)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return tuple(reader.GetSize())


def _read_itk(path: str | Path) -> sitk.Image:
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # what it would print is said here
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as cause:
        reason = str(cause).strip().splitlines()[-1].strip()
        exists = Path(path).is_file()
        problem = f"cannot be read ({reason})" if exists else "cannot be opened (No such file or directory)"
        remedy = "Check the path, and the file of voxels that a .nhdr or .mhd header names; or download it again."
        raise DataError([error("unreadable", path, problem, remedy)]) from cause
    if image.GetNumberOfComponentsPerPixel() > 1 and "vector" not in image.GetPixelIDTypeAsString():
        raise DataError([error("complex", path, "holds complex numbers", "Give the magnitudes, or the CT itself.")])
    return image


def _single_volume(image: sitk.Image, path: str | Path, volume: int | None) -> sitk.Image:
    """The volume that is meant; further ones lie along a fourth axis, or as numbers per voxel."""
    if image.GetDimension() not in (3, 4):
        remedy = "Convert it to a volume of one slice, with its spacing, first."
        raise DataError([error("shape", path, f"has {image.GetDimension()} axes", remedy)])
    by_voxel = image.GetNumberOfComponentsPerPixel() > 1
    count = image.GetNumberOfComponentsPerPixel() if by_voxel else (*image.GetSize(), 1)[3]
    if count > 1 and (volume is None or not 0 <= volume < count):
        chosen = "" if volume is None else f", and volume {volume} is none of them"
        remedy = f"Choose one with volume, 0 to {count - 1} (--volume of i2net)."
        raise DataError([error("4d", path, f"holds {count} volumes or numbers per voxel{chosen}", remedy)])
    if by_voxel:
        return sitk.VectorIndexSelectionCast(image, volume)
    return image[:, :, :, volume or 0] if image.GetDimension() == 4 else image


def _as_nifti(image: sitk.Image, path: str | Path) -> nib.Nifti1Image:
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < _SMALLEST_DETERMINANT:
        problem = f"has a geometry that places no volume (spacing {image.GetSpacing()})"
        raise DataError([error("orientation", path, problem, "Correct the header, or convert the scan again.")])
    voxels = np.ascontiguousarray(sitk.GetArrayViewFromImage(image).T)
    volume = nib.Nifti1Image(voxels, _LPS_TO_RAS @ affine, dtype=np.float32)  # what it would be stored as
    volume.header.set_xyzt_units("mm")
    return volume
