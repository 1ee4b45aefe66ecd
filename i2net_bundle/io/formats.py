"""File formats by their suffixes, and the name of an image without them."""

from __future__ import annotations

from pathlib import Path

NIFTI_SUFFIXES = (".nii", ".nii.gz")
NIFTI_PAIR_SUFFIXES = (".hdr", ".img")
"""Header and voxels of NIfTI or Analyze in one file each; refused with advice."""
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES
IMAGE_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
SUFFIXES = VOLUME_SUFFIXES + IMAGE_SUFFIXES


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
    return str(path).lower().endswith(VOLUME_SUFFIXES + NIFTI_PAIR_SUFFIXES) or Path(path).is_dir()


def image_stem(path: str | Path) -> str:
    """An image's file name without its suffix; the whole name of a DICOM series' folder.

    >>> image_stem("a/img0001.nii.gz"), image_stem("slide.v2.png")
    ('img0001', 'slide.v2')
    """
    if Path(path).is_dir():
        return Path(path).resolve().name  # of "." too; a dot in a folder's name starts no suffix
    name = Path(path).name
    known = sorted(SUFFIXES, key=len, reverse=True)
    suffix = next((suffix for suffix in known if name.lower().endswith(suffix)), Path(name).suffix)
    return name[: len(name) - len(suffix)]
