"""The page of 2D images in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from i2net_bundle.reports.viewer.view_page import write_view
from tests.reports.viewer.conftest import OpenPage
from tests.reports.viewer.predictions import TISSUES, write_slides

Open = Callable[..., OpenPage]
GREY = 180


def tissue() -> np.ndarray:
    """A mask of 120 × 200 pixels: tumour at the upper left, with a hole, and stroma at the lower right."""
    mask = np.zeros((120, 200), np.uint8)
    mask[10:50, 20:80] = 1
    mask[25:35, 40:60] = 0
    mask[70:110, 120:180] = 2
    return mask


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Page of two slides."""
    folder = tmp_path_factory.mktemp("slides")
    return write_view(write_slides(folder, {"first": tissue(), "second": tissue() * 0}, TISSUES))


def stage(page: OpenPage) -> tuple[np.ndarray, Callable[[float, float], tuple[int, int]]]:
    """Pixels of the stage, and the function that places a pixel (row, column) of the slide on it."""
    page.page.wait_for_timeout(700)  # the movement ends
    x, y, scale = page.run(
        "() => { const view = picture.viewer.viewport;"
        " const start = view.pixelFromPoint(new OpenSeadragon.Point(0, 0), true);"
        " return [start.x, start.y, view.deltaPixelsFromPoints(new OpenSeadragon.Point(1, 0), true).x / 200]; }"
    )
    return page.shot("#stage"), lambda row, column: (round(y + scale * row), round(x + scale * column))


def test_the_slide_and_its_outlines_are_drawn_in_place(slides: Path, opened: Open) -> None:
    page = opened(slides, "dark")
    page.ready()
    page.run("() => setOpacity(100)")
    pixels, at = stage(page)
    for row, column, name in [(15, 30, "tumour"), (90, 150, "stroma"), (30, 50, None), (60, 100, None)]:
        color = next((item.color for item in TISSUES if item.name == name), None)
        wanted = [int(color[start : start + 2], 16) for start in (1, 3, 5)] if color else [GREY] * 3
        assert np.abs(pixels[at(row, column)] - wanted).max() <= 6
    page.run("() => setOpacity(0)")
    pixels, at = stage(page)
    assert np.abs(pixels[at(15, 30)] - GREY).max() <= 6
    row, column = at(10, 50)  # on the upper edge of the tumour
    edge = pixels[row - 3 : row + 4, column - 20 : column + 20]
    assert np.abs(edge - GREY).max() > 60
    assert page.shot("h1")[0, -1].mean() < 60


def test_classes_differ_by_their_dashes_as_well_as_by_colour(slides: Path, opened: Open) -> None:
    page = opened(slides)
    page.ready()
    dashes = page.run(
        "() => [...document.querySelectorAll('#slide .line')].map(e => getComputedStyle(e).strokeDasharray)"
    )
    assert len(dashes) == len(set(dashes)) == 2


def test_the_scale_bar_has_its_length(slides: Path, opened: Open) -> None:
    page = opened(slides)
    page.ready()
    _, at = stage(page)
    px_per_um = (at(0, 200)[1] - at(0, 0)[1]) / (200 * 0.5)  # 0.5 µm per pixel
    text = page.page.locator("#bar").inner_text()
    assert text.endswith(" µm")
    width = page.page.locator("#bar").bounding_box()["width"]
    assert width == pytest.approx(float(text.removesuffix(" µm")) * px_per_um, rel=0.02)


def test_keys_zoom_move_and_hide(slides: Path, opened: Open) -> None:
    page = opened(slides)
    page.ready()

    def view() -> tuple[float, float]:
        page.page.wait_for_timeout(600)
        return tuple(page.run("() => [picture.viewer.viewport.getZoom(), picture.viewer.viewport.getCenter().x]"))

    start = view()
    page.page.focus("#stage")
    page.press("+", "+")
    assert view()[0] == pytest.approx(start[0] * 1.25**2, rel=0.01)
    page.press("ArrowRight")
    assert view()[1] > start[1]
    page.press("v")
    assert view() == pytest.approx(start, rel=0.01)
    page.press("1")
    visible = "() => [...picture.groups.values()].map(group => group.getAttribute('visibility'))"
    assert page.run(visible) == ["hidden", "visible"]
    page.press("o")
    assert page.run("() => getComputedStyle(document.querySelector('#slide .line')).stroke") == "none"


def test_another_slide_replaces_the_outlines(slides: Path, opened: Open) -> None:
    page = opened(slides)
    page.ready()
    page.page.get_by_label("Image", exact=True).select_option("1")
    page.ready(1)
    assert page.page.locator("#slide .line").count() == 0
    assert page.page.locator("#classes li.absent").count() == 2
