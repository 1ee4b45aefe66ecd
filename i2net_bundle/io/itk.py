"""Read NRRD and MetaImage files, through ITK in a child process."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from i2net_bundle.io.deflated import unpacked
from i2net_bundle.io.findings import DataError, Finding, enforce, error, warning
from i2net_bundle.io.geometry import is_sheared, is_usable, size_findings
from i2net_bundle.io.itk_headers import (
    byte_order,
    claimed_bytes,
    deflated_voxels,
    geometry_findings,
    read_header,
    voxel_file,
)
from i2net_bundle.io.itk_process import ItkError, ItkImage, read_with_itk
from i2net_bundle.io.nifti import channel_count_finding, refuse_other_content, stacked
from i2net_bundle.io.options import VolumeOptions

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NUMBERS = {
    **{f"{8 * size}-bit signed integer": f"i{size}" for size in (1, 2, 4, 8)},
    **{f"{8 * size}-bit unsigned integer": f"u{size}" for size in (1, 2, 4, 8)},
    **{f"{8 * size}-bit float": f"f{size}" for size in (4, 8)},
}
"""ITK's names of numbers, and numpy's."""
_COPY_AGAIN = "Download or copy all of it again."
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
    header = read_header(path)
    claimed = claimed_bytes(path, header)
    if needs_orientation:
        enforce(geometry_findings(path, header))
    read = _read_deflated(path, header, claimed) or _read(path, claimed)
    if num_volumes > 1:
        count = _count(read)
        if count != num_volumes:
            raise DataError([channel_count_finding(path, count, options.channels)])
        parts = [_single_volume(read, path, number) for number in range(count)]
        image = stacked(parts)
    else:
        image = _single_volume(read, path, options.volume)
    findings = size_findings(path, image.affine)
    if is_sheared(image.affine):
        remedy = "The affine is kept. Check the header: scanners do not write sheared axes."
        findings.append(warning("shear", path, "has axes that are not at right angles (a sheared affine)", remedy))
    return image, findings


def read_geometry(path: str | Path) -> ItkImage:
    """Read a file's size, spacing, origin and direction.

    Raises:
        DataError: the file cannot be read.
    """
    refuse_other_content(Path(path))
    return _read(path, claimed_bytes(path, read_header(path)), voxels=False)


def as_nifti(image: ItkImage, path: str | Path) -> nib.Nifti1Image:
    """Convert a volume of ITK's (LPS) to nibabel's (RAS); the voxel order does not change.

    Raises:
        DataError: its spacing or direction is unusable.
    """
    assert image.voxels is not None
    return _placed(image.voxels, image.spacing, image.origin, image.direction, path)


def _placed(
    voxels: np.ndarray,
    spacing: Sequence[float],
    origin: Sequence[float],
    direction: Sequence[float],
    path: str | Path,
) -> nib.Nifti1Image:
    """Place voxels (z, y, x) in space, by the first three axes of an ITK geometry in LPS mm."""
    rank = len(spacing)
    affine = np.eye(4)
    affine[:3, :3] = np.array(direction).reshape(rank, rank)[:3, :3] * np.array(spacing)[:3]
    affine[:3, 3] = origin[:3]
    if not is_usable(affine):
        problem = f"has an unusable geometry (spacing {spacing})"
        raise DataError([error("orientation", path, problem, "Correct the header, or convert the scan again.")])
    # the data type that saving would use
    volume = nib.Nifti1Image(voxels.T, _LPS_TO_RAS @ affine, dtype=np.float32)
    volume.header.set_xyzt_units("mm")
    return volume


def _read_deflated(path: str | Path, header: dict[str, str], claimed: int) -> ItkImage | None:
    """Read an image whose voxels are compressed by deflate, and verify the checksum of the voxels.

    ITK ignores the checksum. It reads the header here, so the voxels are unpacked once.

    Returns:
        None for images that ITK must read itself, such as those of several numbers per voxel.

    Raises:
        DataError: the file cannot be read.
    """
    stream = deflated_voxels(path, header)
    if stream is None:
        return None
    image = _read(path, claimed, voxels=False)
    number, order = _NUMBERS.get(image.kind), byte_order(path, header)
    dtype = None if number is None or order is None or image.components > 1 else np.dtype(f"{order}{number}")
    nbytes = 0 if dtype is None else dtype.itemsize * math.prod(image.size)
    voxels = unpacked(*stream, nbytes if nbytes <= claimed else 0)
    if voxels is None:
        raise DataError([_damaged_voxels(path)])
    if dtype is None or voxels.nbytes != nbytes:
        return None
    read = voxels.view(dtype).astype(dtype.newbyteorder("="), copy=False).reshape(image.size[::-1])
    return dataclasses.replace(image, voxels=read)


def _read(path: str | Path, claimed: int, voxels: bool = True) -> ItkImage:
    try:
        image = read_with_itk(path, claimed, voxels)
    except ItkError as cause:
        raise DataError([_unread(path, cause)]) from cause
    if "complex" in image.kind:
        raise DataError(
            [error("complex", path, "contains complex numbers", "Use the magnitude image, or the original CT.")]
        )
    return image


def _unread(path: str | Path, cause: ItkError) -> Finding:
    if cause.in_header:
        reason = str(cause).rpartition("\n")[2].strip()
        return error("unreadable", path, f"cannot be read ({reason})", "Download it again.")
    if "determinant is 0" in str(cause):
        return error("orientation", path, "has a degenerate matrix of directions", _CORRECT)
    if "spacing" in str(cause):
        return error("spacing", path, "has a spacing that is not a positive number", _CORRECT)
    return _damaged_voxels(path)


def _damaged_voxels(path: str | Path) -> Finding:
    beside = voxel_file(path)
    where = "" if beside is None else f" in {beside}, which it names,"
    return error("truncated", path, f"is truncated or damaged: its voxels{where} cannot be read", _COPY_AGAIN)


def _single_volume(image: ItkImage, path: str | Path, volume: int | None) -> nib.Nifti1Image:
    """Select the chosen volume; several are stored along a fourth axis, or as numbers per voxel."""
    axes, by_voxel = len(image.size), image.components > 1
    if axes not in (3, 4) or (axes == 4 and by_voxel):
        held = f"has {axes} axes" + (f" and {image.components} numbers per voxel" if by_voxel else "")
        remedy = "Convert it to a volume of one slice, with its spacing, first."
        raise DataError([error("shape", path, held, remedy)])
    count = _count(image)
    if count > 1 and (volume is None or not 0 <= volume < count):
        chosen = "" if volume is None else f", but there is no volume {volume}"
        remedy = f"Choose one with volume, 0 to {count - 1} (--volume of i2net)."
        raise DataError([error("4d", path, f"contains {count} volumes or numbers per voxel{chosen}", remedy)])
    assert image.voxels is not None
    voxels = image.voxels
    if by_voxel:
        voxels = voxels[..., volume]
    elif axes == 4:
        voxels = voxels[volume or 0]
    return _placed(voxels, image.spacing, image.origin, image.direction, path)


def _count(image: ItkImage) -> int:
    """Count the volumes of an image, along a fourth axis or as numbers per voxel."""
    return image.components if image.components > 1 else int((*image.size, 1, 1)[3])
