"""The page of volumes in a real browser: what it draws, where, and what keys do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from i2net_bundle.reports.viewer.view_page import write_view
from tests.reports.viewer.conftest import OpenPage
from tests.reports.viewer.predictions import ORGANS, body, write_volumes

Open = Callable[..., OpenPage]
AXIAL, CORONAL, SAGITTAL = 0, 1, 2
_LETTERS = """() => {
  const letters = [], viewer = picture.slices, draw = viewer.drawText.bind(viewer);
  viewer.drawText = (place, text, ...rest) => { letters.push([...place, text]); return draw(place, text, ...rest); };
  viewer.drawScene();
  viewer.drawText = draw;
  return letters;
}"""
_LUMINANCE = """part => {
  const found = getComputedStyle(document.body)[part].match(/[0-9.]+/g).map(Number);
  return found.length < 4 || found[3] ? (found[0] + found[1] + found[2]) / 3 : 255;
}"""
_NO_WEBGL = """
const get = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind === "webgl2" ? null : get.call(this, kind, ...rest);
};"""
_BLOCKED = """act => {
  const found = new Promise(done => {
    document.addEventListener("securitypolicyviolation", event => done(event.effectiveDirective), { once: true });
  });
  if (act === "fetch") fetch("http://127.0.0.1:9/").catch(() => 0);
  else {
    const script = document.createElement("script");
    script.textContent = "window.added = true";
    document.body.append(script);
  }
  return found;
}"""
_TILES = "() => picture.slices.screenSlices.map(tile => [tile.axCorSag, ...tile.leftTopWidthHeight])"


@pytest.fixture(scope="module")
def two_cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Page of two cases; the second one has no spleen."""
    _, mask = body()
    folder = tmp_path_factory.mktemp("volumes")
    return write_view(write_volumes(folder, {"first": mask, "second": np.where(mask == 2, 0, mask).astype(np.uint8)}))


def places_of(pixels: np.ndarray, name: str) -> np.ndarray:
    """Rows and columns of the pixels (N, 2) in the colour of a class."""
    color = next(item.color for item in ORGANS if item.name == name)
    wanted = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    return np.argwhere(np.abs(pixels - wanted).max(axis=-1) <= 2)


def tile(page: OpenPage, view: int) -> tuple[float, float, float, float]:
    """Left, top, width and height of a slice, in pixels of the canvas."""
    (found,) = [place for kind, *place in page.run(_TILES) if kind == view]
    return tuple(found)


def part_of(page: OpenPage, view: int) -> np.ndarray:
    """Pixels of a slice."""
    pixels = page.canvas("slices")
    left, top, width, height = map(round, tile(page, view))
    return pixels[top : top + height, left : left + width]


def opaque(page: OpenPage) -> None:
    """Show the plain colours of the classes."""
    page.run("() => { setOutlines(false); setOpacity(100); }")


def test_slices_and_surfaces_are_drawn_in_light_and_dark(two_cases: Path, opened: Open) -> None:
    page = opened(two_cases)
    page.ready()
    opaque(page)
    slices, surface = page.canvas("slices"), page.canvas("surface")
    assert len(places_of(slices, "liver")) > 2000 and len(places_of(slices, "spleen")) > 200
    assert (surface.sum(axis=-1) > 60).mean() > 0.05  # shaded, so not in the plain colours
    for scheme in ("light", "dark"):
        page.page.emulate_media(color_scheme=scheme)
        background, text = (page.run(_LUMINANCE, part) for part in ("backgroundColor", "color"))
        assert (background > 200 > 60 > text) if scheme == "light" else (background < 60 < 200 < text)


@pytest.mark.parametrize("codes", ["LPS", "PIR"])
def test_the_patient_s_right_is_on_the_left_however_the_file_stores_it(
    codes: str, opened: Open, tmp_path: Path
) -> None:
    _, mask = body()
    page = opened(write_view(write_volumes(tmp_path, {"case": mask}, codes)))
    page.ready()
    opaque(page)
    page.run("() => { picture.slices.scene.crosshairPos = picture.slices.mm2frac([53, 64, 20]); }")  # inside the liver
    # the liver is on the right and in front; it is on the left of axial slices and above their middle
    for view, (row_half, column_half) in {AXIAL: (0, 0), CORONAL: (None, 0), SAGITTAL: (None, 0)}.items():
        part = part_of(page, view)
        places = places_of(part, "liver")
        assert len(places) > 200
        for half, centre, size in zip((row_half, column_half), places.mean(axis=0), part.shape[:2], strict=True):
            assert half is None or (centre > size / 2) == bool(half)
    letters = page.run(_LETTERS)
    for view, wanted in {AXIAL: "RLAP", CORONAL: "RLSI", SAGITTAL: "APSI"}.items():
        left, top, width, height = tile(page, view)
        inside = {
            text: (x - left, y - top)
            for x, y, text in letters
            if left - 1 <= x <= left + width and top - 1 <= y <= top + height
        }
        assert inside.keys() >= set(wanted)
        lefts, rights, tops, bottoms = (inside[letter] for letter in wanted)
        assert lefts[0] < 0.2 * width and rights[0] > 0.8 * width
        assert tops[1] < 0.2 * height and bottoms[1] > 0.8 * height


def test_the_place_under_the_crosshair_is_named_with_its_value(two_cases: Path, opened: Open) -> None:
    page = opened(two_cases)
    page.ready()
    page.run(
        "() => { picture.slices.scene.crosshairPos = picture.slices.mm2frac([53, 64, 20]);"
        " picture.slices.createOnLocationChange(); }"
    )
    name, value, place = page.page.locator("#place").inner_text().split(" · ")
    assert (name, place) == ("liver", "R 53, A 64, S 20 mm")
    assert float(value.removesuffix(" HU")) == pytest.approx(100, abs=0.8)
    page.run(
        "() => { picture.slices.scene.crosshairPos = picture.slices.mm2frac([-40, -40, 20]);"
        " picture.slices.createOnLocationChange(); }"
    )
    assert page.page.locator("#place").inner_text() == "no class · ≤ -125 HU · L 40, P 40, S 20 mm"


def test_scale_bars_fit_the_size_of_an_organ(two_cases: Path, opened: Open) -> None:
    page = opened(two_cases)
    page.ready()
    opaque(page)
    page.run("() => { picture.slices.scene.crosshairPos = picture.slices.mm2frac([53, 64, 20]); }")
    rows_mm = {AXIAL: 12 * 4, CORONAL: 8 * 5, SAGITTAL: 8 * 5}
    columns_mm = {AXIAL: 10 * 3, CORONAL: 10 * 3, SAGITTAL: 12 * 4}
    for view in (AXIAL, CORONAL, SAGITTAL):
        red, _, blue = np.moveaxis(part_of(page, view), -1, 0)
        extent = np.ptp(np.argwhere(blue - red > 80), axis=0) + 1  # also the paler pixels at the border
        (bar,) = [bar for bar in page.run("() => picture.bars") if bar["view"] == view]
        mm_per_px = bar["mm"] / bar["px"]
        voxel_mm = 5
        assert extent[0] * mm_per_px == pytest.approx(rows_mm[view], abs=voxel_mm)
        assert extent[1] * mm_per_px == pytest.approx(columns_mm[view], abs=voxel_mm)


def test_arrow_keys_move_the_slices_by_one_voxel_while_the_picture_has_the_focus(two_cases: Path, opened: Open) -> None:
    page = opened(two_cases)
    page.ready()

    def place() -> np.ndarray:
        return np.array(page.run("() => Array.from(picture.slices.frac2mm(picture.slices.scene.crosshairPos))")[:3])

    start = place()
    page.press("ArrowUp")  # the page has the focus
    np.testing.assert_allclose(place(), start, atol=0.01)
    page.page.focus("#stage")
    for key, step in {
        "ArrowUp": (0, 0, 5),
        "ArrowDown": (0, 0, -5),
        "ArrowLeft": (3, 0, 0),
        "ArrowRight": (-3, 0, 0),
        "PageUp": (0, 4, 0),
        "PageDown": (0, -4, 0),
    }.items():
        before = place()
        page.press(key)
        np.testing.assert_allclose(place() - before, step, atol=0.01)
    page.page.mouse.move(*[page.page.locator("#slices").bounding_box()[side] + 100 for side in ("x", "y")])
    before = place()
    page.page.mouse.wheel(0, 100)
    page.page.wait_for_timeout(100)
    assert abs(place() - before)[2] == pytest.approx(5, abs=0.01)  # over the axial slice


def test_keys_hide_classes_and_change_the_mask(two_cases: Path, opened: Open) -> None:
    page = opened(two_cases)
    page.ready()
    opaque(page)
    page.press("1")
    assert not len(places_of(page.canvas("slices"), "liver")) and len(places_of(page.canvas("slices"), "spleen"))
    assert page.run("() => picture.meshes.get(1).visible") is False
    assert not page.page.locator("#classes input").first.is_checked()
    page.press("o")  # NiiVue would outline hidden classes
    assert not len(places_of(page.canvas("slices"), "liver"))
    page.press("0")
    assert not len(places_of(page.canvas("slices"), "spleen"))
    page.press("0")
    assert len(places_of(page.canvas("slices"), "liver"))
    page.run("() => setOpacity(10)")
    page.press("o", ",")
    assert page.page.input_value("#opacity") == "0" and not len(places_of(page.canvas("slices"), "liver"))
    page.press("o")  # outlines alone
    outline = places_of(page.canvas("slices"), "liver")
    page.run("() => setOpacity(90)")
    page.press("o", ".")
    assert 0 < len(outline) < 0.8 * len(places_of(page.canvas("slices"), "liver"))
    page.page.get_by_role("button", name="Show only spleen").click()
    assert page.run("() => [...state.visible]") == [2]


def test_views_can_be_chosen_by_button_and_key(two_cases: Path, opened: Open) -> None:
    page = opened(two_cases)
    page.ready()
    assert sorted(kind for kind, *_ in page.run(_TILES)) == [AXIAL, CORONAL, SAGITTAL]
    page.page.get_by_role("button", name="coronal").click()
    assert [kind for kind, *_ in page.run(_TILES)] == [CORONAL]
    page.press("v", "v")
    assert page.run("() => picture.view") == "3D"
    assert page.page.locator("#surface").bounding_box()["width"] == pytest.approx(
        page.page.locator("#stage").bounding_box()["width"], abs=2
    )
    azimuth = page.run("() => picture.surface.scene.renderAzimuth")
    page.page.focus("#stage")
    page.press("ArrowRight")
    assert page.run("() => picture.surface.scene.renderAzimuth") != azimuth


def test_a_case_is_decoded_when_it_is_chosen(two_cases: Path, opened: Open) -> None:
    count = "window.decoded = 0; const plain = atob; window.atob = text => { window.decoded++; return plain(text); };"
    page = opened(two_cases, before=count)
    page.ready()
    assert page.run("() => window.decoded") == 4  # image, mask and two surfaces
    page.press("n")
    page.ready(1)
    assert page.run("() => window.decoded") == 4 + 3
    assert [item.is_visible() for item in page.page.locator("h2[id], [data-case] h2").all()][:2] == [False, True]
    opaque(page)
    assert not len(places_of(page.canvas("slices"), "spleen"))
    assert page.page.locator("#classes li.absent").all_inner_texts()[0].strip().startswith("spleen")
    assert page.page.get_by_role("row", name="spleen").last.inner_text().startswith("spleen\tnot predicted")


def test_without_webgl_2_the_page_shows_its_static_pictures(two_cases: Path, opened: Open) -> None:
    page = opened(two_cases, before=_NO_WEBGL)
    assert "offers no WebGL 2" in page.page.locator("#fallback").inner_text()
    picture = page.page.get_by_role("img", name="Mask of first over its image")
    assert picture.is_visible() and picture.evaluate("image => image.naturalWidth") > 100
    page.page.get_by_role("button", name="Next").click()
    assert page.page.get_by_role("img", name="Mask of second over its image").is_visible()


def test_the_policy_of_the_page_allows_no_connection_and_no_other_script(two_cases: Path, opened: Open) -> None:
    page = opened(two_cases)
    page.ready()
    assert page.run(_BLOCKED, "fetch") == "connect-src"
    assert page.run(_BLOCKED, "add a script") == "script-src-elem"
    assert page.run("() => window.added") is None
    assert page.faults and all("Content Security Policy" in fault for fault in page.faults)
    page.faults.clear()
