"""File formats by their suffixes, further formats of volumes, and the name of an image without its suffix."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib

NIFTI_SUFFIXES = (".nii", ".nii.gz")
NIFTI_PAIR_SUFFIXES = (".hdr", ".img")
"""NIfTI or Analyze as a pair of files, header and voxels; refused with advice."""
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES
IMAGE_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")

_MOST_NAME_BYTES = 200
"""The names of a case's outputs, such as CASE_probability_10.nii.gz, must not exceed 255 bytes."""


@dataclass(frozen=True)
class VolumeFormat:
    """An additional file format of volumes, see `register`. Its masks are written as NIfTI.

    Attributes:
        suffixes: endings of its file names, in lower case with the dot.
        read: reads a path and returns the volume (X, Y, Z) in the file's voxel order, with its affine to RAS mm.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Path], nib.Nifti1Image]


FORMATS: list[VolumeFormat] = []
"""Formats of volumes besides the built-in ones."""


def register(volume_format: VolumeFormat) -> None:
    """Register a format of volumes; checks, training and prediction then read files with its suffixes.

    Raises:
        ValueError: a suffix is already in use.
    """
    for suffix in volume_format.suffixes:
        if suffix in known_suffixes() + NIFTI_PAIR_SUFFIXES:
            raise ValueError(f"Files that end in '{suffix}' are read already. Leave this suffix out.")
    FORMATS.append(volume_format)


def registered_format(path: str | Path) -> VolumeFormat | None:
    """Return a file's registered format by its suffix; None for built-in formats."""
    name = str(path).lower()
    return next((found for found in FORMATS if name.endswith(found.suffixes)), None)


def known_suffixes() -> tuple[str, ...]:
    """List the suffixes of all readable volumes and images, including registered formats."""
    added = tuple(suffix for found in FORMATS for suffix in found.suffixes)
    return VOLUME_SUFFIXES + added + IMAGE_SUFFIXES


def is_nifti(path: str | Path) -> bool:
    """Whether a file name has a NIfTI suffix."""
    return str(path).lower().endswith(NIFTI_SUFFIXES)


def is_nrrd(path: str | Path) -> bool:
    """Whether a file name has an NRRD suffix."""
    return str(path).lower().endswith((".nrrd", ".nhdr"))


def is_itk(path: str | Path) -> bool:
    """Whether a file name has an NRRD or MetaImage suffix."""
    return str(path).lower().endswith(ITK_SUFFIXES)


def is_volume(path: str | Path) -> bool:
    """Whether a path is a volume, by its suffix; a folder is taken for a DICOM series.

    The files of a NIfTI pair count as volumes too; `read_nifti` refuses them with advice.
    """
    built_in = str(path).lower().endswith(VOLUME_SUFFIXES + NIFTI_PAIR_SUFFIXES)
    return built_in or registered_format(path) is not None or Path(path).is_dir()


def image_stem(path: str | Path) -> str:
    """Return an image's file name without its suffix, or the whole name of a DICOM folder.

    >>> image_stem("a/img0001.nii.gz"), image_stem("slide.v2.png")
    ('img0001', 'slide.v2')
    """
    if Path(path).is_dir():
        return Path(path).resolve().name  # resolves "."; a dot in a folder's name does not start a suffix
    name = Path(path).name
    known = sorted(known_suffixes(), key=len, reverse=True)
    suffix = next((suffix for suffix in known if name.lower().endswith(suffix)), Path(name).suffix)
    return name[: len(name) - len(suffix)]


def short_name(name: str) -> str:
    """Shorten the name of a case from which no file name could be made; a hash keeps it distinct.

    >>> short_name("img0001"), len(short_name("x" * 245))
    ('img0001', 200)
    """
    encoded = os.fsencode(name)
    if len(encoded) <= _MOST_NAME_BYTES:
        return name
    start = encoded[: _MOST_NAME_BYTES - 9].decode(errors="ignore")
    return f"{start}-{hashlib.sha256(encoded).hexdigest()[:8]}"
