"""Write a mask in its image's grid and format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813  the library's own abbreviation
from PIL import Image

from i2net_bundle.io.formats import image_stem, is_itk, is_nifti, is_volume, short_name
from i2net_bundle.io.itk import read_geometry
from i2net_bundle.io.writing import written_whole

_DESCRIPTION = b"I2Net segmentation"
_SCANNER = 1
_ONE_FILE = {".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha"}
"""Suffix of an image to the suffix of its mask; a mask is always one file."""
INSTANCES_ENDING = "_instances.png"
"""End of the names of files of instances."""
_MOST_INSTANCES = 2**16 - 1
_LOSSLESS = (".png", ".bmp", ".tif", ".tiff")


def mask_name(image_path: Path, case: str | None = None) -> str:
    """File name of an image's mask.

    Args:
        image_path: the image, which decides the format; NIfTI for a DICOM series, PNG for JPEG, which is lossy.
        case: its name among others, see `i2net_bundle.data.datalist.name_cases`.

    >>> mask_name(Path("p1/ct.nii.gz")), mask_name(Path("p1/ct.nii.gz"), "p1_ct"), mask_name(Path("a.bmp"))
    ('ct_mask.nii.gz', 'p1_ct_mask.nii.gz', 'a_mask.bmp')
    """
    if is_nifti(image_path):
        suffix = image_path.name[len(image_stem(image_path)) :].lower()
    elif is_itk(image_path):
        suffix = _ONE_FILE[image_path.suffix.lower()]
    elif is_volume(image_path):
        suffix = ".nii.gz"
    else:
        suffix = image_path.suffix.lower() if image_path.suffix.lower() in _LOSSLESS else ".png"
    return f"{short_name(case or image_stem(image_path))}_mask{suffix}"


def instances_name(image_path: Path, case: str | None = None) -> str:
    """File name of an image's instances; arguments as in `mask_name`.

    >>> instances_name(Path("p1/a.bmp")), instances_name(Path("p1/a.bmp"), "p1_a")
    ('a_instances.png', 'p1_a_instances.png')
    """
    return f"{short_name(case or image_stem(image_path))}{INSTANCES_ENDING}"


def write_instances(ids: np.ndarray, path: Path, overwrite: bool = False) -> None:
    """Write the instances of a 2D image as a PNG of 16 bits.

    Args:
        ids: 0 outside, 1 to n in the instances (H, W).
        path: output file; written under a temporary name and renamed.
        overwrite: whether ``path`` may exist.

    Raises:
        FileExistsError: ``path`` exists.
        ValueError: there are more instances than 16 bits can number.
    """
    _require_absent(path, overwrite)
    if ids.max(initial=0) > _MOST_INSTANCES:
        raise ValueError(
            f"{path.name}: {int(ids.max())} instances are more than the {_MOST_INSTANCES} that a PNG of 16 bits can "
            "number. Cut the image into parts, or raise separator::min_area."
        )
    with written_whole(path) as temporary:
        Image.fromarray(ids.astype(np.uint16)).save(temporary, format="PNG")


def write_mask(
    mask: np.ndarray,
    image_path: Path,
    path: Path,
    overwrite: bool = False,
    affine: np.ndarray | None = None,
    num_classes: int = 2,
) -> None:
    """Write a mask as uint8.

    A NIfTI mask copies the image's affine and both its codes; an NRRD or MetaImage mask copies spacing, origin and
    direction; the mask of a DICOM series is NIfTI. A 2D mask with two classes is written as 0 and 255, visible in any
    viewer. No other header field is copied.

    Args:
        mask: class ids on the image's grid: (x, y, z), or (rows, columns) for a 2D image.
        image_path: the image, or the folder of a DICOM series.
        path: output file; written under a temporary name and renamed.
        overwrite: whether ``path`` may exist.
        affine: voxel to RAS mm (4, 4), required for a DICOM series.
        num_classes: number of classes of a 2D mask, background included; if more than two, the file contains class ids.

    Raises:
        FileExistsError: ``path`` exists.
        ValueError: mask and image differ in shape, a 2D mask contains other classes, or an affine is missing.
    """
    _require_absent(path, overwrite)
    with written_whole(path) as temporary:
        if is_itk(path):
            sitk.WriteImage(_itk_like(mask, image_path), str(temporary), useCompression=True)
        elif is_nifti(image_path):
            _nifti_like(mask, image_path).to_filename(temporary)
        elif is_nifti(path):
            if affine is None:
                raise ValueError(f"{image_path}: the mask of a DICOM series needs its affine.")
            _nifti(mask, affine).to_filename(temporary)
        else:
            if mask.max() >= num_classes:
                raise ValueError(
                    f"{image_path}: its mask contains class {int(mask.max())} of {num_classes}: wrong num_classes."
                )
            picture = Image.fromarray(mask.astype(np.uint8, copy=False))
            if num_classes <= 2:
                picture = picture.point([0] + 255 * [255])
            options = {"compression": "tiff_adobe_deflate"} if path.suffix.lower() in (".tif", ".tiff") else {}
            picture.save(temporary, **options)


def _require_absent(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists. Choose another folder, or replace it with --overwrite (of monai.bundle: --overwrite true)."
        )


def _itk_like(mask: np.ndarray, image_path: Path) -> sitk.Image:
    read = read_geometry(image_path)
    if read.size[:3] != mask.shape:
        raise ValueError(f"{image_path} is {read.size}, its mask {mask.shape}: the mask is not on its grid.")
    rank = len(read.size)
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.T).astype(np.uint8))
    image.SetSpacing(read.spacing[:3])
    image.SetOrigin(read.origin[:3])
    image.SetDirection(np.array(read.direction).reshape(rank, rank)[:3, :3].ravel().tolist())
    return image


def _nifti(mask: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    image = nib.Nifti1Image(mask.astype(np.uint8), affine)
    image.set_sform(affine, _SCANNER)
    image.set_qform(affine, _SCANNER)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = _DESCRIPTION
    return image


def _nifti_like(mask: np.ndarray, image_path: Path) -> nib.Nifti1Image:
    image: Any = nib.load(image_path)
    shape = image.shape if mask.size == np.prod(image.shape) else image.shape[:3]  # one volume of several
    if [size for size in mask.shape if size > 1] != [size for size in shape if size > 1]:
        raise ValueError(f"{image_path} is {image.shape}, its mask {mask.shape}: the mask is not on its grid.")
    mask = mask.reshape(shape)  # axes of length one may differ: a 2D slice, or one volume of a 4D file
    header = image.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 0  # the image's display window does not apply to labels
    header["descrip"] = _DESCRIPTION
    for field in {"data_type", "db_name", "aux_file", "intent_name", "unused_str"} & set(header.keys()):
        header[field] = b""  # scanners and converters write patients' names there; NIfTI-1 and 2 differ in fields
    header.extensions.clear()
    return type(image)(mask.astype(np.uint8), None, header)
