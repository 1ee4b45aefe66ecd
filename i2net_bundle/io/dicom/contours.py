"""Closed contours of a slice of a mask, half-way between its border voxels and their neighbours outside.

A contour crosses the line between the centres of a voxel and its neighbour outside in the middle, as marching squares
do at 0.5 (`skimage.measure.find_contours`). The centres of the mask's voxels are thus inside the contours, and those of
all others outside: a reader that tests the centres of voxels gets the same mask. Corners are cut, so the enclosed area
is that of the voxels less half a voxel per piece, plus half a voxel per hole.

A hole is joined to the contour around it by the keyhole technique (DICOM PS3.3 C.8.8.6.3): a channel of no width that
goes through the mask and back. Readers do not agree about contours inside others, but all can read this.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

_PARTS = 4
"""Coordinates are integers in quarters of a voxel while holes are joined."""

Point = tuple[int, int]


def closed_contours(mask: np.ndarray) -> list[np.ndarray]:
    """Trace the outlines of a mask; pixels that share only a corner are separate pieces.

    Args:
        mask: 0 or False outside (H, W).

    Returns:
        an outline for each piece with its holes: the (row, column) of each corner (P, 2), float64, in pixels, where
        (0, 0) is the centre of the first pixel. The last point is joined to the first, which is not repeated.

    >>> closed_contours(np.ones((1, 1)))[0].tolist()
    [[0.5, 0.0], [0.0, -0.5], [-0.5, 0.0], [0.0, 0.5]]
    """
    from skimage.measure import find_contours

    mask = np.asarray(mask, bool)
    if not mask.any():
        return []
    first = np.array([np.flatnonzero(mask.any(axis=axis))[0] for axis in (1, 0)])
    last = np.array([np.flatnonzero(mask.any(axis=axis))[-1] for axis in (1, 0)])
    inside = np.pad(mask[first[0] : last[0] + 1, first[1] : last[1] + 1], 1)
    rings = [np.rint(ring[:-1] * _PARTS).astype(int) for ring in find_contours(inside.astype(float), 0.5)]
    return [_corners(ring) / _PARTS + first - 1 for ring in _with_keyholes(rings, inside)]


def _with_keyholes(rings: list[np.ndarray], inside: np.ndarray) -> Iterator[np.ndarray]:
    """Join each hole to the next ring above it: the outline of its piece, or another hole that is itself joined.

    The channel leaves the hole at its top, beside the centres of the voxels, so that rounding moves none of them to the
    other side of a channel.
    """
    is_hole = [_twice_area(ring) < 0 for ring in rings]
    if not any(is_hole):
        yield from rings
        return
    points: list[Point] = [(row, column) for ring in rings for row, column in ring.tolist()]
    starts = np.cumsum([0, *map(len, rings)]).tolist()
    following, before = list(range(1, len(points) + 1)), list(range(-1, len(points) - 1))
    for start, stop in itertools.pairwise(starts):
        following[stop - 1], before[start] = start, stop - 1
    number = {point: index for index, point in enumerate(points)}

    def beside(index: int) -> tuple[int, int, Point]:
        """Ends of the edge to the right of a point, in the ring's order, and the point a quarter voxel along it."""
        after, (row, column) = following[index], points[index]
        ends = (index, after) if points[after][1] > column else (before[index], index)
        other = points[sum(ends) - index]
        return *ends, (row + (other[0] - row) // (other[1] - column), column + 1)

    for hole in np.flatnonzero(is_hole).tolist():
        top = min(range(starts[hole], starts[hole + 1]), key=points.__getitem__)  # the first row is the top
        row, column = points[top]
        above = (row - _PARTS // 2) // _PARTS
        while inside[above, column // _PARTS]:
            above -= 1
        hole_from, hole_to, low = beside(top)
        ring_from, ring_to, high = beside(number[above * _PARTS + _PARTS // 2, column])
        down, up = len(points), len(points) + 2
        points += [high, low, low, high]
        following += [down + 1, hole_to, up + 1, ring_to]
        before += [ring_from, down, hole_from, up]
        following[ring_from], before[hole_to] = down, down + 1
        following[hole_from], before[ring_to] = up, up + 1
    for outline in np.flatnonzero(~np.array(is_hole)).tolist():
        walk = [starts[outline]]
        while (place := following[walk[-1]]) != walk[0]:
            walk.append(place)
        yield np.array([points[place] for place in walk])


def _corners(ring: np.ndarray) -> np.ndarray:
    """A ring (P, 2) without the points on straight lines between their neighbours."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def _twice_area(ring: np.ndarray) -> int:
    """Twice the enclosed area; negative for a hole in the direction of `find_contours`."""
    rows, columns = ring.T
    return int((np.roll(rows, -1) * columns - rows * np.roll(columns, -1)).sum())
