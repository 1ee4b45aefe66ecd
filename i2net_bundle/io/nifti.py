"""Read NIfTI files, and refuse headers that are ambiguous.

A fault that has a remedy is an error until the user chooses the remedy in `VolumeOptions`.
"""

from __future__ import annotations

import gzip
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813  the library's own abbreviation
from nibabel.arrayproxy import ArrayProxy

from i2net_bundle.io.claimed_size import DEFLATE_RATIO, require_stored
from i2net_bundle.io.findings import DataError, Finding, enforce, error, errors, warning
from i2net_bundle.io.formats import NIFTI_PAIR_SUFFIXES
from i2net_bundle.io.geometry import (
    describe_affine,
    has_geometry,
    is_sheared,
    is_usable,
    joined,
    mark_without_geometry,
    same_grid,
    size_findings,
)
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.io.regular_files import first_bytes, require_regular_file

logging.getLogger("nibabel").setLevel(logging.CRITICAL)  # it logs what is reported as findings here

_UNITS_MM = {"meter": 1000.0, "micron": 0.001, "mm": 1.0, "unknown": 1.0}
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_DOWNLOAD_AGAIN = "Download or copy the file again"
_CORRECT = "Correct the header, or convert the DICOM series again."
_MOST_TRAILING_BYTES = 2**26


def read_nifti(
    path: str | Path, options: VolumeOptions, needs_orientation: bool = True, num_volumes: int = 1
) -> tuple[nib.Nifti1Image, list[Finding]]:
    """Read a NIfTI file as one 3D volume in mm, or as several on one grid.

    A 2D file becomes a volume of one slice; trailing axes of length one are dropped; metres and micrometres are
    converted to mm.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        options: what the user declares.
        needs_orientation: whether the affine must be usable; False where the caller has another one.
        num_volumes: number of volumes required, one per channel; with 1, a single one or the one chosen in ``options``.

    Returns:
        the image (X, Y, Z), or (X, Y, Z, C) for several volumes, in memory, with slope and intercept applied; and the
        warnings.

    Raises:
        DataError: the file cannot be read, or is ambiguous and ``options`` does not settle it.
    """
    image = _open(path)
    if num_volumes > 1:
        _require_volumes(image, path, options.channels)
        volume = None
    else:
        volume = _single_volume(image, path, options.volume)
    affine, findings = _affine_mm(image, path, options.header)
    if needs_orientation:
        enforce(errors(findings))
    elif errors(findings):
        affine, findings = affine if np.isfinite(affine).all() else np.eye(4), []
    read = nib.Nifti1Image(_voxels(image, path, volume, num_volumes), affine, dtype=np.float32)  # as it would be stored
    read.header.set_xyzt_units("mm")
    if not has_geometry(image):
        mark_without_geometry(read)
    return read, findings


def stacked(images: Sequence[nib.Nifti1Image]) -> nib.Nifti1Image:
    """Stack volumes (X, Y, Z) as channels (X, Y, Z, C) with the first one's header; x varies fastest in memory.

    The data type is kept if all volumes share it; otherwise it is float32.
    """
    arrays = [np.asarray(image.dataobj) for image in images]
    types = {array.dtype for array in arrays}
    dtype = types.pop() if len(types) == 1 else np.dtype(np.float32)
    voxels = np.empty((*arrays[0].shape, len(arrays)), dtype, order="F")
    for number, array in enumerate(arrays):
        voxels[..., number] = array
    joined = nib.Nifti1Image(voxels, images[0].affine, dtype=voxels.dtype)
    joined.header.set_xyzt_units(*images[0].header.get_xyzt_units())
    joined.header["descrip"] = images[0].header["descrip"]
    return joined


def _open(path: str | Path) -> nib.Nifti1Image:
    refuse_other_content(Path(path))
    if str(path).lower().endswith(NIFTI_PAIR_SUFFIXES):
        problem = "is one of a pair of files (.hdr and .img), and pairs are not read"
        raise DataError([error("pair", path, problem, "Convert the pair to .nii.gz.")])
    try:
        image: Any = nib.load(path)
        claimed = math.prod(map(int, image.shape)) * image.get_data_dtype().itemsize
    except Exception as cause:  # nibabel raises whatever a damaged header leads it to
        problem = f"cannot be read as NIfTI ({_one_line(cause)})"
        raise DataError([error("unreadable", path, problem, f"{_DOWNLOAD_AGAIN}.")]) from cause
    if not isinstance(image, nib.Nifti1Image):  # Nifti2Image is one too
        found = type(image).__name__
        raise DataError([error("format", path, f"is a {found}, not NIfTI", "Convert it to .nii.gz first.")])
    if image.get_data_dtype().kind == "c":
        remedy = "Use the magnitude image, or the original CT."
        raise DataError([error("complex", path, "contains complex numbers", remedy)])
    is_packed = str(path).lower().endswith(".gz")
    require_stored(path, claimed, require_regular_file(path), DEFLATE_RATIO if is_packed else 1)
    _require_position_and_scale(image, path)
    if image.get_data_dtype().fields is not None:
        remedy = "Use the file with the CT numbers or the labels, not a colour rendering of it."
        raise DataError([error("rgb", path, "contains RGB colours instead of one number per voxel", remedy)])
    return image


def _require_position_and_scale(image: nib.Nifti1Image, path: str | Path) -> None:
    """Refuse an offset within the header, and an infinite slope, which nibabel takes for 1."""
    stored: Any = image.dataobj
    offset, slope = stored.offset, float(_stored_header(image)["scl_slope"])
    if offset < image.header_class.single_vox_offset:
        problem = f"has the vox_offset {offset}, which lies in its header"
        raise DataError([error("offset", path, problem, _CORRECT)])
    if math.isinf(slope):
        raise DataError([error("scale", path, f"has the scl_slope {slope:g}", _CORRECT)])


def refuse_other_content(path: Path) -> None:
    """Refuse files that are not volumes, whatever their suffix.

    Raises:
        DataError: the file cannot be opened, is empty, a web page or a DICOM slice, or not compressed as its name says.
    """
    start = first_bytes(path)
    if not start:
        raise DataError([error("empty", path, "is empty (0 bytes)", f"{_DOWNLOAD_AGAIN}.")])
    if start.lstrip()[:1] == b"<":
        remedy = f"{_DOWNLOAD_AGAIN}; the server sent a page, perhaps because you were not logged in."
        raise DataError([error("html", path, "is an HTML or XML page, not an image", remedy)])
    if start[128:132] == b"DICM":
        remedy = "Pass the folder that contains all slices of the series."
        raise DataError([error("dicom-slice", path, "is a single DICOM file of a series", remedy)])
    if path.name.endswith(".gz") and start[:2] != b"\x1f\x8b":
        remedy = f"Rename it if it is plain .nii; otherwise {_DOWNLOAD_AGAIN.lower()}."
        raise DataError([error("not-gzip", path, "ends in .gz but is not gzip-compressed", remedy)])
    if path.suffix == ".nii" and start[:2] == b"\x1f\x8b":
        raise DataError([error("gzip", path, "ends in .nii but is gzip-compressed", "Rename it to .nii.gz.")])


def _voxels(image: nib.Nifti1Image, path: str | Path, volume: int | None, num_volumes: int) -> np.ndarray:
    try:
        voxels = _stored_voxels(image, path)
    except MemoryError:
        raise
    except Exception as cause:  # an infinite offset, a cut or damaged stream, …
        problem = f"is truncated or damaged: its voxels cannot be read ({_one_line(cause)})"
        raise DataError([error("truncated", path, problem, f"{_DOWNLOAD_AGAIN}.")]) from cause
    voxels = voxels.reshape(*voxels.shape[:3], -1) if voxels.ndim > 3 else voxels
    if voxels.ndim == 4:
        return voxels if num_volumes > 1 else voxels[..., volume or 0]
    return voxels[..., None] if voxels.ndim == 2 else voxels


def _stored_voxels(image: nib.Nifti1Image, path: str | Path) -> np.ndarray:
    """Read the voxels with slope and intercept applied, and verify the checksum of a compressed file.

    The checksum follows the voxels, and nibabel stops reading before it.
    """
    stored: Any = image.dataobj
    if not str(path).lower().endswith(".gz"):
        return np.asanyarray(stored)
    with gzip.open(path) as file:
        spec = (stored.shape, stored.dtype, stored.offset, stored.slope, stored.inter)
        voxels = np.asanyarray(ArrayProxy(file, spec))
        _read_to_end(file)
    return voxels


def _read_to_end(file: gzip.GzipFile) -> None:
    trailing = 0
    while chunk := file.read(2**20):
        trailing += len(chunk)
        if trailing > _MOST_TRAILING_BYTES:
            raise ValueError(f"more than {_MOST_TRAILING_BYTES / 1e6:.0f} MB follow them")


def _require_volumes(image: nib.Nifti1Image, path: str | Path, channels: Sequence[str]) -> None:
    """Check that a 4D file contains one volume per channel."""
    count = math.prod(image.shape[3:])
    if len(image.shape) < 4 or count != len(channels) or min(image.shape) < 1:
        raise DataError([channel_count_finding(path, count, channels)])


def channel_count_finding(path: str | Path, count: int, channels: Sequence[str]) -> Finding:
    """Report that a file does not contain one volume per channel."""
    held = "one volume" if count == 1 else f"{count} volumes"
    problem = f"contains {held}, and the channels are {', '.join(channels)}"
    remedy = "Provide one file per channel (CASE_0000, CASE_0001, …), or a 4D file of all channels in this order."
    return error("channels", path, problem, remedy)


def _single_volume(image: nib.Nifti1Image, path: str | Path, volume: int | None) -> int | None:
    """Index of the volume to read, or None if there is only one."""
    count = math.prod(image.shape[3:])
    if len(image.shape) < 2 or min(image.shape) < 1:
        raise DataError([error("shape", path, f"has shape {image.shape}", "A slice or a volume is needed.")])
    if count == 1:
        return None
    if volume is None or not 0 <= volume < count:
        chosen = "" if volume is None else f", but there is no volume {volume}"
        problem = f"contains {count} volumes (shape {image.shape}){chosen}"
        remedy = f"Choose one with volume, 0 to {count - 1} (--volume of i2net)."
        raise DataError([error("4d", path, problem, remedy)])
    return volume


def _affine_mm(image: nib.Nifti1Image, path: str | Path, chosen: str | None) -> tuple[np.ndarray, list[Finding]]:
    """Return the affine (4, 4) in mm, and its findings."""
    header = image.header
    rank = min(len(image.shape), 3)
    sides = _stored_header(image)["pixdim"][1 : 1 + rank]
    if not (np.isfinite(sides).all() and (sides > 0).all()):
        remedy = "Correct the header from the scan's own record, or convert the DICOM series again."
        return image.affine, [error("spacing", path, f"has the spacing {joined(sides)}", remedy)]
    codes = {"sform": int(header["sform_code"]), "qform": int(header["qform_code"])}
    if not any(codes.values()):
        remedy = (
            "Use a file that has its header, or convert the DICOM series again; a label without one can use "
            "its image's (geometry: image)."
        )
        problem = "does not record its orientation (sform and qform codes are both 0)"
        return image.affine, [error("no-orientation", path, problem, remedy)]
    if chosen is not None and not codes[chosen]:
        chosen = None  # this file has only one; the option may be meant for its image or label
    unit = _spatial_unit(header)
    scale = np.diag([_UNITS_MM.get(unit, 1.0)] * 3 + [1.0])
    try:
        with np.errstate(invalid="ignore"):  # an infinite affine is reported below
            forms = {name: scale @ getattr(header, f"get_{name}")() for name, code in codes.items() if code}
    except (nib.spatialimages.HeaderDataError, ValueError) as cause:
        problem = f"has an invalid orientation ({_one_line(cause)})"
        return image.affine, [error("orientation", path, problem, _CORRECT)]
    affine = forms[chosen] if chosen else forms.get("sform", forms.get("qform"))
    assert affine is not None
    if not is_usable(affine):
        return affine, [error("orientation", path, f"has a degenerate affine {joined(affine[:3])}", _CORRECT)]
    findings = _unit_findings(path, unit, affine) + _shear_findings(path, affine)
    if chosen is None:
        disagreement = _form_findings(path, forms, image.shape)
        findings += disagreement or _reader_findings(path, affine, image.shape, list(forms))
    return affine, findings


def _stored_header(image: nib.Nifti1Image) -> nib.Nifti1Header:
    """Read the header unchanged; on loading, nibabel replaces a spacing of 0 by 1 and drops signs."""
    with image.file_map["image"].get_prepare_fileobj("rb") as file:
        return image.header_class.from_fileobj(file, check=False)


def _spatial_unit(header: nib.Nifti1Header) -> str:
    try:
        return header.get_xyzt_units()[0]
    except KeyError:
        return "unknown"


def _form_findings(path: str | Path, forms: dict[str, np.ndarray], shape: Sequence[int]) -> list[Finding]:
    if len(forms) < 2 or same_grid(forms["sform"], forms["qform"], shape):
        return []
    shown = "; ".join(f"{name} {describe_affine(affine)}" for name, affine in forms.items())
    remedy = "Choose the right one with header: sform or header: qform (--header of i2net)."
    return [error("sform-qform", path, f"has two orientations that disagree: {shown}", remedy)]


def _reader_findings(path: str | Path, affine: np.ndarray, shape: Sequence[int], forms: Sequence[str]) -> list[Finding]:
    """Compare with SimpleITK's reading of the header; ITK refuses shear, which is reported elsewhere."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # its warnings are reported here instead
    try:
        reader.ReadImageInformation()
    except RuntimeError as cause:
        if is_sheared(affine):
            return []
        reason = str(cause).strip().splitlines()[-1].strip()
        remedy = "Programs built on ITK (3D Slicer, MONAI Label) cannot open it; convert it again for them."
        return [warning("readers", path, f"cannot be read by SimpleITK ({reason})", remedy)]
    rank = reader.GetDimension()
    if rank < 3 or len(shape) < 3:
        return []
    direction = np.array(reader.GetDirection()).reshape(rank, rank)[:3, :3]
    other = np.eye(4)
    other[:3, :3] = direction * np.array(reader.GetSpacing())[:3]
    other[:3, 3] = reader.GetOrigin()[:3]
    other = _LPS_TO_RAS @ other
    if same_grid(affine, other, shape):
        return []
    problem = f"is read differently: by nibabel {describe_affine(affine)}; by SimpleITK {describe_affine(other)}"
    choice = " or ".join(f"header: {name}" for name in forms)
    remedy = f"If nibabel's reading is right, choose {choice} (--header of i2net); otherwise correct the header."
    return [error("readers", path, problem, remedy)]


def _unit_findings(path: str | Path, unit: str, affine: np.ndarray) -> list[Finding]:
    findings = []
    if _UNITS_MM.get(unit, 1.0) != 1.0:
        spacing = joined(np.linalg.norm(affine[:3, :3], axis=0))
        problem = f"records its spacing in {unit}s; converted to {spacing} mm"
        findings.append(warning("units", path, problem, "Check that this is the scan's spacing."))
    return findings + size_findings(path, affine)


def _shear_findings(path: str | Path, affine: np.ndarray) -> list[Finding]:
    if not is_sheared(affine):
        return []
    remedy = "The affine is kept; programs built on ITK refuse such files."
    return [warning("shear", path, "has axes that are not at right angles (a sheared affine)", remedy)]


def _one_line(cause: BaseException) -> str:
    return " ".join(str(cause).split())
