"""Geometry of volumes: compare and describe affines (4, 4) from voxels to RAS mm; mark volumes without geometry."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from i2net_bundle.io.findings import Finding, warning

TOLERANCE_VOXELS = 0.1
"""Two grids are equal if no corner differs by more than this fraction of the smallest voxel side."""

SMALLEST_DETERMINANT = 1e-9
"""Smallest voxel volume in mm³; axes of less are nearly in one plane."""

_NO_GEOMETRY = b"spacing unknown, in voxels"


def has_geometry(image: nib.Nifti1Image) -> bool:
    """Whether a file's spacing is known; false after `mark_without_geometry`."""
    return bool(image.header["descrip"] != _NO_GEOMETRY)


def mark_without_geometry(image: nib.Nifti1Image) -> None:
    """Record in the header that spacing and origin are unknown; distances are then in voxels."""
    image.header.set_xyzt_units("unknown")
    image.header["descrip"] = _NO_GEOMETRY


def same_grid(first: np.ndarray, second: np.ndarray, shape: Sequence[int]) -> bool:
    """Whether two affines (4, 4) in mm place a grid of ``shape`` at the same points, within `TOLERANCE_VOXELS`."""
    sides = np.linalg.norm(first[:3, :3], axis=0)
    return largest_corner_distance(first, second, shape) <= TOLERANCE_VOXELS * float(sides.min())


def largest_corner_distance(first: np.ndarray, second: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance between the corners of one grid under two affines (4, 4), in mm."""
    corners = np.array([[*corner, 1] for corner in itertools.product(*([0, size - 1] for size in (*shape, 1, 1)[:3]))])
    return float(np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max())


def describe_affine(affine: np.ndarray) -> str:
    """Describe an affine: axis codes, spacing in mm, origin in RAS mm.

    >>> describe_affine(np.diag([-2.0, -2.0, 3.0, 1.0]))
    'LPS, spacing 2 x 2 x 3 mm, origin (0, 0, 0)'
    """
    spacing = " x ".join(f"{side:.5g}" for side in np.linalg.norm(affine[:3, :3], axis=0))
    origin = ", ".join(f"{value + 0.0:.5g}" for value in affine[:3, 3])
    codes = "".join(code or "?" for code in nib.aff2axcodes(affine))
    return f"{codes}, spacing {spacing} mm, origin ({origin})"


def is_usable(affine: np.ndarray) -> bool:
    """Whether an affine (4, 4) places a volume: finite, with a volume, and each axis along one of the patient's.

    >>> is_usable(np.diag([2.0, 2.0, 3.0, 1.0])), is_usable(np.diag([2.0, 0.0, 3.0, 1.0]))
    (True, False)
    """
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < SMALLEST_DETERMINANT:
        return False
    return None not in nib.aff2axcodes(affine)


def is_sheared(affine: np.ndarray) -> bool:
    """Whether an affine's axes (4, 4) are not at right angles."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3)


def size_findings(path: str | Path, affine: np.ndarray) -> list[Finding]:
    """Warn about implausible voxels: sides below 0.05 mm or above 50 mm by the affine (4, 4)."""
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if sides.min() >= 0.05 and sides.max() <= 50:
        return []
    remedy = "Check the units in the header; volumes and distances depend on them."
    return [warning("spacing", path, f"has voxels of {joined(sides)} mm", remedy)]


def joined(values: np.ndarray) -> str:
    """Format numbers for a message: "0.7 x 0.7 x 5"."""
    return " x ".join(f"{value:.5g}" for value in np.ravel(values))
