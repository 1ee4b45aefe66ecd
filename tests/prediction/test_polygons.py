"""Polygons of a mask enclose its pixels and no others, in the form that QuPath opens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import polygon2mask

from i2net_bundle.labels import classes_of
from i2net_bundle.metrics import find_glands
from i2net_bundle.metrics.pixel_runs import PixelRuns
from i2net_bundle.prediction.polygons import gland_features, polygons, write_geojson

GLAND = classes_of(["gland"])[0]
Polygons = list[list[list[list[int]]]]


def pixels(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def outlines(mask: np.ndarray) -> Polygons:
    return polygons(PixelRuns.of(mask))


def painted(parts: Polygons, shape: tuple[int, ...]) -> np.ndarray:
    """How many polygons contain each pixel's centre, by scikit-image's own rule."""
    count = np.zeros(shape, int)
    for exterior, *holes in parts:
        for sign, ring in [(1, exterior), *((-1, hole) for hole in holes)]:
            corners = np.array(ring)[:, ::-1] - 0.5  # scikit-image has pixel centres at whole numbers
            count += sign * polygon2mask(shape, corners)
    return count


def signed_area(ring: list[list[int]]) -> float:
    x, y = np.array(ring).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) / 2


def assert_valid(parts: Polygons) -> None:
    for exterior, *holes in parts:
        assert signed_area(exterior) > 0
        for ring in (exterior, *holes):
            assert ring[0] == ring[-1]
            assert len(ring) >= 5
            assert len({tuple(corner) for corner in ring}) == len(ring) - 1  # touches itself nowhere
            steps = np.diff(np.array([*ring, ring[1]]), axis=0)
            assert ((steps == 0).sum(1) == 1).all()  # along the pixels' edges
            assert ((steps[:-1] == 0) != (steps[1:] == 0)).all()  # no corner that could be left out
        assert all(signed_area(hole) < 0 for hole in holes)


def test_outlines_of_hand_worked_shapes() -> None:
    assert outlines(pixels("....", ".##.")) == [[[[1, 1], [3, 1], [3, 2], [1, 2], [1, 1]]]]
    mask = np.zeros((14, 25), bool)
    mask[10:13, 20:23] = pixels("###", "#.#", "###")
    ((exterior, hole),) = outlines(mask)
    assert exterior == [[20, 10], [23, 10], [23, 13], [20, 13], [20, 10]]
    assert sorted(hole[:-1]) == [[21, 11], [21, 12], [22, 11], [22, 12]]
    assert outlines(np.zeros((3, 4), bool)) == []


@pytest.mark.parametrize(
    ("rows", "parts", "holes"),
    [
        (("#.", ".#"), 2, 0),
        ((".#", "#."), 2, 0),
        (("###", "#.#", "##.", "###"), 1, 1),
        (("####", "#.##", "##.#", "####"), 1, 2),
        (("###.", "#.#.", "##.#", "..##"), 2, 1),
        (("#####", "#...#", "#.#.#", "#...#", "#####"), 2, 1),
        (("##.", "#.#", ".##"), 2, 0),
    ],
    ids=["diagonal", "other diagonal", "open lumen", "two holes that touch", "hole at the edge", "island", "loop"],
)
def test_pixels_that_share_a_corner_make_no_ring_that_touches_itself(
    rows: tuple[str, ...], parts: int, holes: int
) -> None:
    mask = pixels(*rows)
    found = outlines(mask)
    assert_valid(found)
    assert (len(found), sum(len(part) - 1 for part in found)) == (parts, holes)
    assert np.array_equal(painted(found, mask.shape), mask)


@pytest.mark.parametrize("density", [0.1, 0.4, 0.6, 0.9])
def test_random_pixels_are_enclosed_exactly(density: float) -> None:
    for seed in range(20):
        mask = np.random.default_rng(seed).random((13, 17)) < density
        found = outlines(mask)
        assert_valid(found)
        assert len(found) == ndimage.label(mask)[1]
        assert np.array_equal(painted(found, mask.shape), mask)
        areas = sum(signed_area(ring) for part in found for ring in part)
        assert areas == mask.sum()


def blobs() -> np.ndarray:
    """Shapes with holes and islands in them, some smaller than a gland (H, W)."""
    noise = np.random.default_rng(4).normal(size=(220, 260))
    return (ndimage.gaussian_filter(noise, 4) > 0.02).astype(np.uint8)


def read(path: Path) -> list[dict[str, Any]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["type"] == "FeatureCollection"
    return content["features"]


def parts_of(feature: dict[str, Any]) -> Polygons:
    geometry = feature["geometry"]
    return [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]


def test_rasterizing_the_file_gives_the_mask_of_its_glands(tmp_path: Path) -> None:
    mask = blobs()
    write_geojson(mask, tmp_path / "a.geojson", GLAND)
    features = read(tmp_path / "a.geojson")
    glands = find_glands(mask > 0)
    assert len(features) == glands.max() > 2
    assert any(len(part) > 1 for feature in features for part in parts_of(feature))  # holes
    for number, feature in enumerate(features, 1):
        assert_valid(parts_of(feature))
        assert np.array_equal(painted(parts_of(feature), mask.shape), (glands == number) & (mask > 0))
    assert (find_glands(mask > 0, min_area=0) > 0).sum() > (glands > 0).sum()  # specks were left out


@pytest.mark.parametrize("um_per_px", [None, 0.5])
def test_a_feature_has_what_qupath_reads(um_per_px: float | None) -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[5:25, 10:30] = 1
    mask[10:12, 15:20] = 0
    (feature,) = gland_features(mask, GLAND, um_per_px)
    assert feature["type"] == "Feature"
    assert feature["geometry"]["type"] == "Polygon"
    assert feature["properties"] == {
        "objectType": "annotation",
        "classification": {"name": "gland", "color": [0, 0x9E, 0x73]},
        "measurements": {"Mask area px^2": 390} | ({} if um_per_px is None else {"Mask area µm^2": 97.5}),
    }


def test_an_empty_mask_is_a_collection_without_features(tmp_path: Path) -> None:
    write_geojson(np.zeros((5, 5), np.uint8), tmp_path / "a.geojson", GLAND)
    assert read(tmp_path / "a.geojson") == []
