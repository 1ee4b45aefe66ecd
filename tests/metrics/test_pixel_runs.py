"""Pixel runs of a mask against SciPy's and NumPy's operations on its pixels."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from i2net_bundle.metrics import pixel_runs as runs_module
from i2net_bundle.metrics.objects import find_glands, gland_pixel_runs
from i2net_bundle.metrics.pixel_runs import PixelRuns


def blobs(shape: tuple[int, int], seed: int, sigma: float = 3) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma) > 0


MASKS = {
    "blobs": blobs((90, 130), 0),
    "noise": np.random.default_rng(1).random((40, 33)) < 0.5,
    "dense noise": np.random.default_rng(2).random((40, 33)) < 0.7,
    "a row": np.array([[1, 1, 0, 1, 0, 0, 1]], bool),
    "a column": np.array([[1], [1], [0], [1]], bool),
    "nothing": np.zeros((6, 5), bool),
    "everything": np.ones((6, 5), bool),
    "a pixel": np.ones((1, 1), bool),
    "corners at the sides": np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], bool),
}


@pytest.fixture(params=MASKS.values(), ids=MASKS.keys())
def mask(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    monkeypatch.setattr(runs_module, "_STRIP_PIXELS", 200)  # several strips
    return request.param


def test_painted_runs_restore_the_mask(mask: np.ndarray) -> None:
    runs = PixelRuns.of(mask)
    assert np.array_equal(runs.painted(np.ones(len(runs.starts))), mask)
    assert runs.lengths.sum() == mask.sum()
    assert len(runs.starts) == (np.diff(mask.astype(int), axis=1, prepend=0) == 1).sum()


@pytest.mark.parametrize("corners", [False, True])
def test_components_equal_scipys(mask: np.ndarray, corners: bool) -> None:
    runs = PixelRuns.of(mask)
    expected, _ = ndimage.label(mask, structure=np.ones((3, 3)) if corners else None)
    assert np.array_equal(runs.painted(runs.components(corners) + 1), expected)


def test_filled_holes_equal_scipys(mask: np.ndarray) -> None:
    filled = PixelRuns.of(mask).filled()
    assert np.array_equal(filled.painted(np.ones(len(filled.starts))), ndimage.binary_fill_holes(mask))
    assert (filled.starts[1:] > filled.stops[:-1]).all()  # joined where a hole lay between


def test_runs_at_the_border_are_found(mask: np.ndarray) -> None:
    runs = PixelRuns.of(mask)
    numbers = runs.painted(np.arange(len(runs.starts)) + 1)
    rims = np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]])
    assert set(np.flatnonzero(runs.at_border()) + 1) == set(rims[rims > 0])


def test_the_run_of_a_pixel_is_found(mask: np.ndarray) -> None:
    runs = PixelRuns.of(mask)
    rows, cols = np.indices(mask.shape)
    numbers = runs.painted(np.arange(len(runs.starts)) + 1)
    assert np.array_equal(runs.holding((rows * runs.stride + cols).ravel()).reshape(mask.shape) + 1, numbers)


@pytest.mark.parametrize("min_area", [1, 40, 200])
@pytest.mark.parametrize("seed", range(3))
def test_glands_equal_those_found_pixel_by_pixel(seed: int, min_area: int) -> None:
    mask = blobs((200, 170), seed)
    components, count = ndimage.label(ndimage.binary_fill_holes(mask), structure=np.ones((3, 3)))
    kept = [number for number in range(1, count + 1) if (components == number).sum() >= min_area]
    expected = sum((components == number) * place for place, number in enumerate(kept, 1))
    assert np.array_equal(find_glands(mask, min_area), expected)


def test_memory_grows_with_outlines_rather_than_area() -> None:
    mask = np.kron(blobs((250, 250), 0), np.ones((20, 20), bool))  # 25 million pixels
    tracemalloc.start()
    glands, numbers = gland_pixel_runs(PixelRuns.of(mask))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(np.unique(numbers)) > 30
    assert glands.lengths.sum() > mask.sum() > 1e7
    assert peak < 1.5 * mask.size  # numbering every pixel would take 4 bytes each
