"""Outlines of glands as GeoJSON for QuPath (0.4 and later), exact to the pixel.

Coordinates are pixels (x, y) of the image. The origin is the upper left corner of the first pixel, so pixel centers are
at + 0.5. Outlines follow the edges of the pixels and enclose exactly the pixels of the mask; only corners are stored.
As RFC 7946 requires, exterior rings are counter-clockwise and holes clockwise in these coordinates. On a screen, where
y points down, they look reversed. Pixels of a gland that only share a corner become parts of a MultiPolygon, because a
ring that touches itself is invalid.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from i2net_bundle.io.writing import written_whole
from i2net_bundle.labels import LabelClass
from i2net_bundle.metrics.objects import MIN_AREA_PX, gland_pixel_runs
from i2net_bundle.metrics.pixel_runs import PixelRuns
from i2net_bundle.prediction.gland_shapes import GlandShape

_RIGHT, _DOWN, _LEFT, _UP = range(4)
_MEASUREMENTS = {
    "id": "Gland id",
    "x": "Center X px",
    "y": "Center Y px",
    "area_px": "Mask area px^2",
    "area_um2": "Mask area µm^2",
    "perimeter_px": "Mask perimeter px",
    "perimeter_um": "Mask perimeter µm",
    "eccentricity": "Eccentricity",
    "solidity": "Mask solidity",
    "lumen_share": "Lumen share",
}
"""Names of measurements as QuPath shows them. QuPath itself adds some without "Mask", of the polygon."""


def write_geojson(
    mask: np.ndarray,
    path: str | Path,
    label_class: LabelClass,
    um_per_px: float | None = None,
    min_area: int = MIN_AREA_PX,
) -> None:
    """Write the glands of a mask as a FeatureCollection; see `gland_features`.

    Args:
        mask: 0 outside glands, (H, W), on the image's own grid.
        path: output file.
        label_class: class of the glands; QuPath shows its name and color.
        um_per_px: micrometers per pixel, if known.
        min_area: smallest area of a gland in pixels.
    """
    write_features(gland_features(mask, label_class, um_per_px, min_area), path)


def write_features(features: Iterable[Mapping[str, Any]], path: str | Path) -> None:
    """Write GeoJSON features as a FeatureCollection, one per line."""
    with written_whole(Path(path)) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, feature in enumerate(features):
            file.write(("," if number else "") + "\n" + json.dumps(feature, ensure_ascii=False))
        file.write("\n]}\n")


def gland_features(
    mask: np.ndarray, label_class: LabelClass, um_per_px: float | None = None, min_area: int = MIN_AREA_PX
) -> Iterator[dict[str, Any]]:
    """Yield each gland as a GeoJSON feature in QuPath's form: an annotation with its class, color and measurements.

    Glands are those of `gland_pixel_runs`. A polygon follows the mask, so a lumen outside the mask is a hole.

    Args:
        mask: 0 outside glands, (H, W).
        label_class: class of the glands.
        um_per_px: micrometers per pixel, if known; adds the area in µm².
        min_area: smallest area of a gland, including its holes, in pixels.
    """
    inside = PixelRuns.of(mask)
    glands, numbers = gland_pixel_runs(inside, min_area)
    held_by = glands.holding(inside.starts)
    inside = inside.select(held_by >= 0)  # without specks
    number = numbers[held_by[held_by >= 0]]
    order = np.argsort(number, kind="stable")
    of_each = np.split(order, np.flatnonzero(np.diff(number[order])) + 1) if len(order) else []
    for which in of_each:
        pixels = inside.select(which)
        area = int(pixels.lengths.sum())
        # QuPath itself adds "Area", the area of the polygon
        measurements: dict[str, float] = {"Mask area px^2": area}
        if um_per_px is not None:
            measurements["Mask area µm^2"] = area * um_per_px**2
        yield _feature(polygons(pixels), label_class, measurements)


def instance_features(
    ids: np.ndarray, label_class: LabelClass, shapes: Sequence[GlandShape], um_per_px: float | None = None
) -> Iterator[dict[str, Any]]:
    """Yield each gland of an instance map as a GeoJSON feature, see `gland_features`, with all its measurements.

    Args:
        ids: 0 outside, 1 to n in the glands (H, W).
        label_class: class of the glands.
        shapes: measurements of the glands.
        um_per_px: micrometers per pixel, if known.
    """
    boxes = ndimage.find_objects(ids)
    for shape in shapes:
        rows, cols = boxes[shape.id - 1]
        inside = PixelRuns.of(ids[rows, cols] == shape.id)
        moved = [
            [[[x + cols.start, y + rows.start] for x, y in ring] for ring in polygon] for polygon in polygons(inside)
        ]
        row = shape.row(um_per_px)
        measured = {shown: row[name] for name, shown in _MEASUREMENTS.items() if name in row}
        yield _feature(moved, label_class, measured)


def _feature(
    parts: list[list[list[list[int]]]], label_class: LabelClass, measurements: Mapping[str, float]
) -> dict[str, Any]:
    color = [int(label_class.color[start : start + 2], 16) for start in (1, 3, 5)]
    return {
        "type": "Feature",
        "geometry": _geometry(parts),
        "properties": {
            "objectType": "annotation",
            "classification": {"name": label_class.name, "color": color},
            "measurements": measurements,
        },
    }


def polygons(pixels: PixelRuns) -> list[list[list[list[int]]]]:
    """Trace the outlines of pixels along their edges.

    Args:
        pixels: runs of a mask.

    Returns:
        a polygon for each set of edge-connected pixels: its exterior ring, then its holes. A ring is a list of
        [x, y] in which the last point equals the first.

    >>> polygons(PixelRuns.of(np.ones((1, 2), bool)))
    [[[[0, 0], [2, 0], [2, 1], [0, 1], [0, 0]]]]
    """
    parts = pixels.components(corners=False)
    count = parts.max(initial=-1) + 1
    exteriors: list[list[list[int]]] = [[] for _ in range(count)]
    holes: list[list[list[list[int]]]] = [[] for _ in range(count)]
    rings, beside = _rings(pixels)
    for ring, part in zip(rings, parts[pixels.holding(beside)], strict=True):
        y, x = np.divmod(ring, pixels.stride)
        twice_area = int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
        corners = np.stack([x, y], axis=1).tolist()
        corners.append(corners[0])
        if twice_area > 0:
            exteriors[part] = corners
        else:
            holes[part].append(corners)
    return [[exterior, *inner] for exterior, inner in zip(exteriors, holes, strict=True)]


def _geometry(parts: list[list[list[list[int]]]]) -> dict[str, Any]:
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}


def _rings(pixels: PixelRuns) -> tuple[list[np.ndarray], np.ndarray]:
    """Simple closed walks along edges, as positions of corners; and a pixel beside each walk."""
    edges, directions, following_edges = _edges(pixels)
    starts, following = edges.tolist(), following_edges.tolist()
    done = bytearray(len(starts))
    rings: list[np.ndarray] = []
    firsts: list[int] = []
    for first in range(len(starts)):
        walk: list[int] = []  # edges since the first, without rings already closed
        places: dict[int, int] = {}  # start of an edge to its place in the walk
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
            rings.append(edges[ring])
            firsts.append(ring[0])
    pixel_beside = np.array([0, -1, -1 - pixels.stride, -pixels.stride])  # on the right side, by direction
    return rings, edges[firsts] + pixel_beside[directions[firsts]]


def _edges(pixels: PixelRuns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Straight edges between corners, each with its pixels on the right side as seen on a screen.

    Returns:
        start (N,) of each edge, as the position of the pixel whose upper left corner it is; its direction (N,); and
        the index (N,) of the next edge.
    """
    stride = pixels.stride
    ends_of_runs = np.concatenate([pixels.starts, pixels.stops])
    order = np.argsort(ends_of_runs)
    ends_below, opens_below = (
        ends_of_runs[order],
        order < len(pixels.starts),
    )  # runs end at their upper corners
    corners = np.union1d(ends_below, ends_below + stride)  # and at the lower ones
    below, below_opens = _look_up(corners, ends_below, opens_below)
    above, above_opens = _look_up(corners, ends_below + stride, opens_below)
    # if both rows change in the same way, an edge passes through; if in opposite ways, two walks pass
    visits = np.where(below & above, 2 * (below_opens != above_opens), 1)
    corners, below, below_opens, above_opens = (
        values.repeat(visits) for values in (corners, below, below_opens, above_opens)
    )

    # corners are joined in pairs along rows, and along columns
    across = _directed(corners, np.where(below, below_opens, ~above_opens), (_RIGHT, _LEFT))
    by_column = np.lexsort((corners, corners % stride))
    along = _directed(corners[by_column], ~below_opens[by_column], (_DOWN, _UP))

    start, stop, direction = (np.concatenate(pair) for pair in zip(across, along, strict=True))
    keys = start * 4 + direction
    by_key = np.argsort(keys)
    following = np.empty(len(start), np.int64)
    found = np.zeros(len(start), bool)
    for turn in (1, 3):  # prefer a right turn, which stays at the same pixel
        wanted = stop * 4 + (direction + turn) % 4
        place = np.minimum(np.searchsorted(keys, wanted, sorter=by_key), len(keys) - 1)
        hit = (keys[by_key[place]] == wanted) & ~found
        following[hit] = by_key[place[hit]]
        found |= hit
    return start, direction, following


def _look_up(wanted: np.ndarray, keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each wanted number is among the sorted keys, and its value; False if it is not."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found = keys[place] == wanted
    return found, found & values[place]


def _directed(
    corners: np.ndarray, forwards: np.ndarray, names: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start, stop and direction of the edges between pairs of corners; the first corner decides the direction."""
    low, high, forwards = corners[::2], corners[1::2], forwards[::2]
    return np.where(forwards, low, high), np.where(forwards, high, low), np.where(forwards, *names)
