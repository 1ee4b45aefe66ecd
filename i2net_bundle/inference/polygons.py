"""Masks of glands -> GeoJSON polygons for QuPath (0.4 and later), exact to the pixel.

Coordinates are pixels (x, y) of the image, the origin at the upper left corner of its first pixel, so pixel centres lie
at + 0.5. Outlines run along the pixels' edges and keep only the corners: they enclose the mask's pixels and no others.
Exterior rings are counter-clockwise and holes clockwise in these numbers, as RFC 7946 has them; on a screen, whose y
points down, they look the other way round. Within a gland, pixels that only share a corner become parts of a
MultiPolygon, since a ring that touches itself is invalid.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from i2net_bundle.files import written_whole
from i2net_bundle.labels import label_table
from i2net_bundle.metrics.objects import MIN_AREA_PX, find_glands

_RIGHT, _DOWN, _LEFT, _UP = range(4)
_PIXEL_BESIDE = {_RIGHT: (0, 0), _DOWN: (0, -1), _LEFT: (-1, -1), _UP: (-1, 0)}
"""Row and column, from an edge's start, of the pixel that it has on its right hand as seen on a screen."""


def write_geojson(
    mask: np.ndarray, path: str | Path, name: str, um_per_px: float | None = None, min_area: int = MIN_AREA_PX
) -> None:
    """Write a mask's glands as a FeatureCollection; see `gland_features`.

    Args:
        mask: 0 outside, (H, W), in the image's own pixels.
        path: the file; written beside it and renamed.
        name: of the class, which QuPath shows.
        um_per_px: micrometres per pixel where known.
        min_area: of a gland, in pixels.
    """
    features = gland_features(mask, name, um_per_px, min_area)
    with written_whole(Path(path)) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, feature in enumerate(features):
            file.write(("," if number else "") + "\n" + json.dumps(feature, ensure_ascii=False))
        file.write("\n]}\n")


def gland_features(
    mask: np.ndarray, name: str, um_per_px: float | None = None, min_area: int = MIN_AREA_PX
) -> Iterator[dict[str, Any]]:
    """Glands as GeoJSON features with what QuPath understands: an annotation, its class and colour, its measurements.

    What a gland is, `find_glands` says; its polygon follows the mask, so a lumen that the mask leaves out is a hole.

    Args:
        mask: 0 outside, (H, W).
        name: of the class.
        um_per_px: micrometres per pixel where known; the area is given in µm² then, too.
        min_area: of a gland with its holes, in pixels.
    """
    gland = label_table("glas").find(name)
    color = gland.color if gland else label_table("glas").classes[1].color
    inside = mask > 0
    glands = find_glands(inside, min_area)
    for number, box in enumerate(ndimage.find_objects(glands), 1):
        pixels = (glands[box] == number) & inside[box]
        area = int(pixels.sum())
        # QuPath has columns of its own for "Area", of the polygon
        measurements: dict[str, float] = {"Mask area px^2": area}
        if um_per_px is not None:
            measurements["Mask area µm^2"] = area * um_per_px**2
        yield {
            "type": "Feature",
            "geometry": _geometry(polygons(pixels, (box[0].start, box[1].start))),
            "properties": {
                "objectType": "annotation",
                "classification": {"name": name, "color": [int(color[k : k + 2], 16) for k in (1, 3, 5)]},
                "measurements": measurements,
            },
        }


def polygons(pixels: np.ndarray, origin: tuple[int, int] = (0, 0)) -> list[list[list[list[int]]]]:
    """Outlines of pixels along their edges.

    Args:
        pixels: bool (H, W).
        origin: row and column of the first pixel in the image.

    Returns:
        a polygon for each set of pixels connected by edges: its exterior ring, then its holes. A ring is a list of
        [x, y] whose last equals its first.

    >>> polygons(np.ones((1, 2), bool))
    [[[[0, 0], [2, 0], [2, 1], [0, 1], [0, 0]]]]
    """
    parts, count = ndimage.label(pixels)
    exteriors: list[list[list[int]]] = [[] for _ in range(count)]
    holes: list[list[list[list[int]]]] = [[] for _ in range(count)]
    for corners, beside in _rings(pixels):
        part = parts[beside] - 1
        y, x = np.array(corners, np.int64).T
        twice_area = int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
        ring = [[int(col) + origin[1], int(row) + origin[0]] for row, col in [*corners, corners[0]]]
        if twice_area > 0:
            exteriors[part] = ring
        else:
            holes[part].append(ring)
    return [[exterior, *inner] for exterior, inner in zip(exteriors, holes, strict=True)]


def _geometry(parts: list[list[list[list[int]]]]) -> dict[str, Any]:
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}


def _rings(pixels: np.ndarray) -> Iterator[tuple[list[tuple[int, int]], tuple[int, int]]]:
    """Closed walks along edges, as corners (row, column) that none passes twice; and a pixel that each borders on."""
    starts, directions, following = (part.tolist() for part in _edges(pixels))
    width = pixels.shape[1] + 1
    done = [False] * len(starts)
    for first in range(len(starts)):
        walk: list[int] = []  # edges since the first, without the rings that were closed on the way
        places: dict[int, int] = {}  # of their starts in it
        edge = first
        while not done[edge]:
            done[edge] = True
            places[starts[edge]] = len(walk)
            walk.append(edge)
            edge = following[edge]
            place = places.get(starts[edge])
            if place is None:
                continue
            ring = walk[place:]
            del walk[place:]
            for passed in ring:
                del places[starts[passed]]
            corners = [divmod(starts[passed], width) for passed in ring]
            down, right = _PIXEL_BESIDE[directions[ring[0]]]
            yield corners, (corners[0][0] + down, corners[0][1] + right)


def _edges(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Straight edges between corners, each with its pixels on the right hand as seen on a screen.

    Returns:
        start (N,) of each edge, as row · (W + 1) + column of the grid of corners; its direction (N,); and the index
        (N,) of the edge that follows it.
    """
    padded = np.pad(pixels, 1)
    width = pixels.shape[1] + 1
    above_left, above_right = padded[:-1, :-1], padded[:-1, 1:]
    below_left, below_right = padded[1:, :-1], padded[1:, 1:]
    odd = above_left ^ above_right ^ below_left ^ below_right
    crossing = (above_left == below_right) & (above_right == below_left) & (above_left != above_right)
    visits = odd.astype(np.int8) + 2 * crossing  # where two pixels meet by a corner alone, two walks pass

    rows, cols = (index.repeat(visits[odd | crossing]) for index in np.nonzero(odd | crossing))
    ends = np.stack([rows, cols]).reshape(2, -1, 2)  # along a row, corners are joined two by two
    to_right = padded[ends[0, :, 0] + 1, ends[1, :, 0] + 1]
    across = _directed(ends, to_right, width, (_RIGHT, _LEFT))

    order = np.lexsort((rows, cols))
    ends = np.stack([rows[order], cols[order]]).reshape(2, -1, 2)
    downwards = padded[ends[0, :, 0] + 1, ends[1, :, 0]]
    along = _directed(ends, downwards, width, (_DOWN, _UP))

    start, stop, direction = (np.concatenate(pair) for pair in zip(across, along, strict=True))
    keys = start * 4 + direction
    by_key = np.argsort(keys)
    following = np.empty(len(start), np.int64)
    found = np.zeros(len(start), bool)
    for turn in (1, 3):  # to the right, and so around the same pixel, wherever there is a choice
        wanted = stop * 4 + (direction + turn) % 4
        place = np.minimum(np.searchsorted(keys, wanted, sorter=by_key), len(keys) - 1)
        hit = (keys[by_key[place]] == wanted) & ~found
        following[hit] = by_key[place[hit]]
        found |= hit
    return start, direction, following


def _directed(
    ends: np.ndarray, forwards: np.ndarray, width: int, names: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start, stop and direction of edges whose ends (2, N, 2) are rows and columns in rising order."""
    low, high = (ends[0, :, side] * width + ends[1, :, side] for side in (0, 1))
    return np.where(forwards, low, high), np.where(forwards, high, low), np.where(forwards, *names)
