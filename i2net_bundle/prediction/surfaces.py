"""Closed surfaces of the classes of a mask, with the volume of their voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.measure import marching_cubes

_SIGMA = 0.7  # voxels; removes the steps between voxels and keeps structures of two voxels
_MARGIN = 4  # voxels around a class, so that the surface closes
_TOLERANCE = 0.002  # of the volume
_MOST_TRIALS = 12


@dataclass(frozen=True)
class Surface:
    """A closed surface of triangles.

    Attributes:
        vertices: positions in RAS mm, (V, 3), float32.
        faces: indices of the vertices of each triangle, counter-clockwise from outside, (F, 3), int32.
    """

    vertices: np.ndarray
    faces: np.ndarray

    @property
    def volume_ml(self) -> float:
        """Enclosed volume in mL, by the divergence theorem."""
        corners = self.vertices.astype(np.float64)[self.faces]  # (F, 3, 3)
        corners -= corners.reshape(-1, 3).mean(axis=0)
        return float(np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6000)


def class_surface(mask: np.ndarray, affine: np.ndarray, index: int, step: int = 1) -> Surface | None:
    """Surface of one class by marching cubes (Lorensen and Cline 1987) on the smoothed mask.

    Smoothing shrinks thin structures, so the level of the surface is chosen such that it encloses the volume
    of the voxels.

    Args:
        mask: class indices, (X, Y, Z).
        affine: voxel to RAS mm, (4, 4).
        index: the class.
        step: voxels between the points of the surface.

    Returns:
        the surface; None if the mask does not contain the class. With ``step`` 1, its volume is that of the voxels
        within 1 %, unless the class is as small as a few voxels.
    """
    (box,) = ndimage.find_objects((mask == index).view(np.uint8)) or (None,)
    if box is None:
        return None
    inside = np.pad(mask[box] == index, _MARGIN + step).astype(np.float32)
    smooth = ndimage.gaussian_filter(inside, _SIGMA)
    voxels = int(inside.sum())
    wanted_ml = voxels * abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    first = np.array([part.start for part in box]) - _MARGIN - step
    low, high = 0.0, float(smooth.max())
    level = float(np.partition(smooth.ravel(), -voxels)[-voxels])  # encloses about the right number of voxels
    surface = None
    for _ in range(_MOST_TRIALS):
        surface = _at_level(smooth, level, affine, first, step)
        error = surface.volume_ml / wanted_ml - 1
        if abs(error) <= _TOLERANCE or step > 1:
            break
        low, high = (level, high) if error > 0 else (low, level)
        level = (low + high) / 2
    return surface


def _at_level(smooth: np.ndarray, level: float, affine: np.ndarray, first: np.ndarray, step: int) -> Surface:
    vertices, faces, _, _ = marching_cubes(smooth, level, step_size=step, gradient_direction="ascent")
    placed = (vertices + first) @ affine[:3, :3].T + affine[:3, 3]
    if np.linalg.det(affine[:3, :3]) < 0:  # a mirrored grid turns the triangles inside out
        faces = faces[:, ::-1]
    return Surface(placed.astype(np.float32), np.ascontiguousarray(faces, np.int32))
