"""Distances between the surfaces of two masks, from k-d trees of their surface points.

Two definitions of a surface are in use, and published figures depend on which one is meant:

- surface *voxels*, voxels of a mask with a face neighbour outside it: HD95 of medpy and MONAI;
- surface *elements*, pieces of surface between voxel centres, weighted by area: surface Dice as defined by Nikolov
  et al. (2018), in DeepMind's ``surface-distance`` and MONAI's ``SurfaceDiceMetric(use_subvoxels=True)``.

A surface has far fewer points than the volume has voxels, so k-d trees take a fraction of the time and memory of
distance maps. Masks may be cropped to any box that contains both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from monai.metrics.utils import get_code_to_measure_table
from scipy.spatial import KDTree


def surface_voxels(mask: np.ndarray) -> np.ndarray:
    """Indices (N, dims) of the voxels of a mask that have a face neighbour outside it, or outside the array.

    Args:
        mask: bool, 2D or 3D.
    """
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(mask.ndim):
        for step in (0, 2):
            part = [slice(1, -1)] * mask.ndim
            part[axis] = slice(step, step + mask.shape[axis])
            inner &= padded[tuple(part)]
    return np.argwhere(mask & ~inner)


def surface_elements(mask: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of a mask's surface, one for every cell of 2ᵈ voxel centres that lie partly inside the mask.

    Args:
        mask: bool, 2D or 3D.
        spacing: voxel size along each axis.

    Returns:
        indices of the cells (N, dims), and the area (in 2D the length) of the surface in each cell (N,), float64.
    """
    areas, kernel = get_code_to_measure_table([float(size) for size in spacing])
    bits = kernel.numpy().astype(np.uint8)[0, 0]
    padded = np.pad(mask, 1).astype(np.uint8)
    codes = np.zeros([size + 1 for size in mask.shape], np.uint8)
    for corner in np.ndindex(*bits.shape):
        part = tuple(slice(start, start + size) for start, size in zip(corner, codes.shape, strict=True))
        codes += padded[part] * bits[corner]
    cells = np.argwhere((codes != 0) & (codes != len(areas) - 1))
    return cells, areas.double().numpy()[codes[tuple(cells.T)]]


def nearest_distances(
    points: np.ndarray, others: np.ndarray, spacing: Sequence[float], limit: float = np.inf
) -> np.ndarray:
    """Distance from every point of a set to the nearest point of another set.

    Args:
        points: indices (N, dims).
        others: indices (M, dims), M > 0.
        spacing: voxel size along each axis; the distances are in its unit.
        limit: distances beyond it are returned as infinite, which saves time.

    Returns:
        distances (N,).
    """
    scale = np.asarray(spacing, np.float64)
    return KDTree(others * scale).query(points * scale, distance_upper_bound=limit)[0]


def surface_distances(
    points: np.ndarray, others: np.ndarray, spacing: Sequence[float], limit: float = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Distance from every point of each set to the nearest point of the other set.

    Args:
        points: indices (N, dims), N > 0.
        others: indices (M, dims), M > 0.
        spacing: see `nearest_distances`.
        limit: see `nearest_distances`.

    Returns:
        distances from ``points`` (N,) and from ``others`` (M,).
    """
    return nearest_distances(points, others, spacing, limit), nearest_distances(others, points, spacing, limit)


def distances_to_mask(points: np.ndarray, mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance from every point to the nearest voxel of a mask; 0 for points in the mask.

    Args:
        points: indices (N, dims).
        mask: bool, 2D or 3D, not empty.
        spacing: voxel size along each axis.

    Returns:
        distances (N,).
    """
    distances = np.zeros(len(points))
    outside = ~mask[tuple(points.T)]
    # the nearest voxel of a mask is one of its surface voxels
    distances[outside] = nearest_distances(points[outside], surface_voxels(mask), spacing)
    return distances


def pooled_hausdorff(there: np.ndarray, back: np.ndarray, percentile: float = 95) -> float:
    """Percentile of the distances of both directions pooled (medpy's ``hd95``).

    Args:
        there: distances from one surface to the other (N,).
        back: distances in the other direction (M,).
        percentile: 0 to 100.
    """
    return float(np.percentile(np.concatenate([there, back]), percentile))


def directed_hausdorff(there: np.ndarray, back: np.ndarray, percentile: float = 95) -> float:
    """The larger of the two directed percentiles (MONAI's ``HausdorffDistanceMetric``); arguments as above."""
    return float(max(np.percentile(there, percentile), np.percentile(back, percentile)))


def area_hausdorff(y_pred: np.ndarray, y: np.ndarray, spacing: Sequence[float], percentile: float = 95) -> float:
    """The larger of the two directed percentiles over surface elements weighted by area (``surface-distance``).

    A directed percentile is the distance of the element at which that share of the area is reached.

    Args:
        y_pred: predicted mask, bool, 2D or 3D, not empty.
        y: true mask, same shape, not empty.
        spacing: voxel size along each axis.
        percentile: 0 to 100.
    """
    sides = [surface_elements(mask, spacing) for mask in (y_pred, y)]
    directed = surface_distances(sides[0][0], sides[1][0], spacing)
    largest = 0.0
    for distances, (_, areas) in zip(directed, sides, strict=True):
        order = np.argsort(distances)
        shares = np.cumsum(areas[order]) / areas.sum()
        reached = min(int(np.searchsorted(shares, percentile / 100)), len(order) - 1)
        largest = max(largest, float(distances[order[reached]]))
    return largest


def surface_dice(y_pred: np.ndarray, y: np.ndarray, spacing: Sequence[float], tolerance: float) -> float:
    """Share of the area of both surfaces that lies within a tolerance of the other surface (normalised surface Dice).

    Args:
        y_pred: predicted mask, bool, 2D or 3D, not empty.
        y: true mask, same shape, not empty.
        spacing: voxel size along each axis.
        tolerance: in the unit of ``spacing``.
    """
    cells_pred, areas_pred = surface_elements(y_pred, spacing)
    cells, areas = surface_elements(y, spacing)
    # slightly beyond the tolerance, because the k-d tree excludes the bound itself
    there, back = surface_distances(cells_pred, cells, spacing, limit=1.001 * tolerance + 1e-6)
    within = areas_pred[there <= tolerance].sum() + areas[back <= tolerance].sum()
    return float(within / (areas_pred.sum() + areas.sum()))
