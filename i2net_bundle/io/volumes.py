"""Read volumes of any format: NIfTI, NRRD, MetaImage, DICOM series, registered formats."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from i2net_bundle.io.channels import is_ct
from i2net_bundle.io.dicom.volume import read_series
from i2net_bundle.io.findings import DataError, Finding, error, reading
from i2net_bundle.io.formats import VolumeFormat, is_itk, is_nifti, registered_format
from i2net_bundle.io.geometry import is_usable, size_findings
from i2net_bundle.io.handover import decoded
from i2net_bundle.io.itk import as_nifti, read_geometry, read_itk
from i2net_bundle.io.itk_headers import voxel_file
from i2net_bundle.io.nifti import channel_count_finding, read_nifti
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.io.regular_files import require_regular_file
from i2net_bundle.io.writing import file_sha256


def read_volume(
    path: str | Path, options: VolumeOptions, needs_orientation: bool = True, num_volumes: int = 1
) -> tuple[nib.Nifti1Image, list[Finding]]:
    """Read one 3D volume in mm, or the channels of a 4D file.

    Args:
        path: file with a suffix of `VOLUME_SUFFIXES` or of a registered format, or the folder of a DICOM series.
        options: what the user declares.
        needs_orientation: see `read_nifti`.
        num_volumes: number of volumes required, one per channel.

    Returns:
        the image (X, Y, Z), or (X, Y, Z, C) for several volumes, in memory, in the file's voxel order, with its affine
        to RAS mm; and the warnings.

    Raises:
        DataError: the file cannot be read, or is ambiguous and ``options`` does not settle it.
    """
    with reading(path):
        image, findings = decoded(_read, _nbytes, path, options, needs_orientation, num_volumes, files=_files)
        return image, list(findings)


def _nbytes(found: tuple[nib.Nifti1Image, list[Finding]]) -> int:
    return int(np.asanyarray(found[0].dataobj).nbytes)


def _read(
    path: str | Path, options: VolumeOptions, needs_orientation: bool, num_volumes: int
) -> tuple[nib.Nifti1Image, list[Finding]]:
    if Path(path).is_dir():
        if num_volumes > 1:
            raise DataError([channel_count_finding(path, 1, options.channels)])
        series, findings = read_series(path, options.series, is_ct(options.channels[0]))
        image = as_nifti(series, path)
        return image, [*findings, *size_findings(path, image.affine)]
    if is_itk(path):
        return read_itk(path, options, needs_orientation, num_volumes)
    registered = registered_format(path)
    if registered is not None:
        if num_volumes > 1:
            raise DataError([channel_count_finding(path, 1, options.channels)])
        return _read_registered(registered, Path(path))
    return read_nifti(path, options, needs_orientation, num_volumes)


def _read_registered(volume_format: VolumeFormat, path: Path) -> tuple[nib.Nifti1Image, list[Finding]]:
    require_regular_file(path)
    image = volume_format.read(path)
    if len(image.shape) != 3:
        problem = f"is read as an array of shape {image.shape}, not as one volume"
        raise DataError([error("shape", path, problem, "Return (X, Y, Z) from the format's read function.")])
    if image.affine is None or not is_usable(image.affine):
        problem = "is read with an affine that does not place it in space"
        raise DataError([error("orientation", path, problem, "Return an affine to RAS mm from the read function.")])
    return image, size_findings(path, image.affine)


def volume_shape(path: str | Path) -> tuple[int, ...]:
    """Return a volume's shape from its header alone.

    Raises:
        Exception: the reader's own error for a damaged file.
    """
    registered = registered_format(path)
    if registered is not None:
        return tuple(registered.read(Path(path)).shape)
    if is_nifti(path):
        image: Any = nib.load(path)
        return tuple(image.shape)
    return read_geometry(path).size


def content_sha256(path: str | Path) -> str:
    """Hash an image's content (SHA-256): its file, header and voxel file, or all files of a DICOM folder.

    Raises:
        DataError: the path is neither a regular file nor a folder.
        OSError: a file cannot be read.
    """
    files = _files(Path(path))
    if len(files) == 1:
        return file_sha256(files[0])
    return hashlib.sha256("".join(file_sha256(file) for file in files).encode()).hexdigest()


def _files(path: Path) -> list[Path]:
    """Return the files of an image.

    Raises:
        DataError: the path is neither a regular file nor a folder.
    """
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    require_regular_file(path)
    name = voxel_file(path) if is_itk(path) else None
    if name is None:
        return [path]
    if (path.parent / name).is_file():
        return [path, path.parent / name]
    return [
        path,
        *sorted(file for file in path.parent.iterdir() if file.is_file()),
    ]  # a list or pattern
