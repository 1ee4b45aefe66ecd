"""Oblique volumes, and volumes in other formats than NIfTI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813, its usual name

SHEARLESS = np.array([[0.0, -1.9, 0.4, 12], [-1.5, 0, 0, 7], [0, 0.6, 2.9, -90], [0, 0, 0, 1]])


def rotated() -> np.ndarray:
    """An oblique affine with permuted axes, at right angles."""
    directions, _ = np.linalg.qr(SHEARLESS[:3, :3])
    affine = SHEARLESS.copy()
    affine[:3, :3] = directions * [0.8, 1.2, 3.0]
    return affine


def converted(nifti: str, suffix: str) -> Path:
    """The same volume in another format, written by SimpleITK."""
    path = Path(nifti).with_name(f"ct{suffix}")
    sitk.WriteImage(sitk.ReadImage(nifti), str(path))
    return path
