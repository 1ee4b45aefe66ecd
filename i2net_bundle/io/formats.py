"""File formats by their suffixes, further formats of volumes, and the name of an image without its suffix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib

NIFTI_SUFFIXES = (".nii", ".nii.gz")
NIFTI_PAIR_SUFFIXES = (".hdr", ".img")
"""Header and voxels of NIfTI or Analyze in one file each; refused with advice."""
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES
IMAGE_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")


@dataclass(frozen=True)
class VolumeFormat:
    """A further file format of volumes, see `register`. Masks of its images are NIfTI.

    Attributes:
        suffixes: endings of its file names, in lower case with the dot.
        read: from the path to the volume (X, Y, Z) in the file's own order of voxels, with its affine to RAS mm.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Path], nib.Nifti1Image]


FORMATS: list[VolumeFormat] = []
"""Formats of volumes besides the built-in ones."""


def register(volume_format: VolumeFormat) -> None:
    """Add a format of volumes: files with its suffixes are volumes everywhere, from checks to prediction.

    Raises:
        ValueError: a suffix is taken.
    """
    for suffix in volume_format.suffixes:
        if suffix in known_suffixes() + NIFTI_PAIR_SUFFIXES:
            raise ValueError(f"Files that end in '{suffix}' are read already. Leave this suffix out.")
    FORMATS.append(volume_format)


def registered_format(path: str | Path) -> VolumeFormat | None:
    """The registered format of a file by its suffix; None for the built-in ones."""
    name = str(path).lower()
    return next((found for found in FORMATS if name.endswith(found.suffixes)), None)


def known_suffixes() -> tuple[str, ...]:
    """Suffixes of all volumes and images that can be read, registered formats included."""
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
    """Whether a path is that of a volume: by its suffix, or a folder, which can only hold a DICOM series.

    The files of a NIfTI pair count as volumes too; `read_nifti` refuses them with advice.
    """
    built_in = str(path).lower().endswith(VOLUME_SUFFIXES + NIFTI_PAIR_SUFFIXES)
    return built_in or registered_format(path) is not None or Path(path).is_dir()


def image_stem(path: str | Path) -> str:
    """An image's file name without its suffix; the whole name of a DICOM series' folder.

    >>> image_stem("a/img0001.nii.gz"), image_stem("slide.v2.png")
    ('img0001', 'slide.v2')
    """
    if Path(path).is_dir():
        return Path(path).resolve().name  # of "." too; a dot in a folder's name starts no suffix
    name = Path(path).name
    known = sorted(known_suffixes(), key=len, reverse=True)
    suffix = next((suffix for suffix in known if name.lower().endswith(suffix)), Path(name).suffix)
    return name[: len(name) - len(suffix)]
