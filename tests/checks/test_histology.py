"""A histology image is read correctly, or refused with the file, the fault and the remedy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2net_bundle.checks.histology import check_histology, load_image, load_mask, pair_findings
from i2net_bundle.io.findings import DataError, Severity
from i2net_bundle.io.images import open_image
from i2net_bundle.io.options import HistologyOptions
from tests.checks.histology_files import IDS, RGB, Write, half_of, mask, pages, rotated, with_alpha, write_png

PLAIN = HistologyOptions()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_an_rgb_image_keeps_its_pixels(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / f"a{suffix}")
    image, findings = load_image(tmp_path / f"a{suffix}", PLAIN)
    assert image.dtype == np.uint8
    assert np.array_equal(image, RGB)
    assert findings == []


def test_a_jpeg_image_has_the_colours_that_pillow_decodes(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.jpg")
    image, findings = load_image(tmp_path / "a.jpg", PLAIN)
    assert np.array_equal(image, np.asarray(Image.open(tmp_path / "a.jpg")))
    assert findings == []


@pytest.mark.parametrize(
    ("mode", "alpha"),
    [("1", None), ("L", None), ("P", None), ("L", 255), ("RGB", 255)],
    ids=["1 bit", "grey", "palette", "grey with opaque alpha", "RGB with opaque alpha"],
)
def test_other_kinds_of_8_bit_images_become_their_rgb(mode: str, alpha: int | None, tmp_path: Path) -> None:
    source = Image.fromarray(RGB).convert(mode)
    expected = np.asarray(source.convert("RGB"))
    if alpha is not None:
        source.putalpha(alpha)
    source.save(tmp_path / "a.png")
    image, findings = load_image(tmp_path / "a.png", PLAIN)
    assert np.array_equal(image, expected)
    assert findings == []


def test_a_palette_with_an_opaque_transparency_table_is_read_without_a_warning(tmp_path: Path) -> None:
    source = Image.fromarray(RGB).convert("P")
    source.save(tmp_path / "a.png", transparency=bytes([255] * 256))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image, findings = load_image(tmp_path / "a.png", PLAIN)
    assert np.array_equal(image, np.asarray(source.convert("RGB")))
    assert findings == []


def test_16_bit_colours_keep_their_high_byte_and_are_reported(tmp_path: Path) -> None:
    values = np.array([[[0x0000, 0x12FF, 0xFFFF], [0x8001, 0x00FF, 0xABCD]]], ">u2")
    write_png(tmp_path / "a.png", [values.tobytes()], width=2, bits=16, colour_type=2)
    image, (finding,) = load_image(tmp_path / "a.png", PLAIN)
    assert image.tolist() == [[[0x00, 0x12, 0xFF], [0x80, 0x00, 0xAB]]]
    assert finding.severity is Severity.WARNING
    assert "a.png: has 16 bits per channel, of which the highest 8 are used" in str(finding)
    assert "export it with 8 bits" in finding.remedy


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_keeps_its_high_byte_and_is_reported(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.array([[0x0000, 0x12FF, 0xFFFF]], np.uint16)).save(path)
    image, (finding,) = load_image(path, PLAIN)
    assert image.tolist() == [[[0x00] * 3, [0x12] * 3, [0xFF] * 3]]
    assert (finding.severity, finding.rule) == (Severity.WARNING, "image-bits")


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.png", lambda path: None, r"a\.png: cannot be opened \(No such file .*Check the path"),
        ("a.png", Path.mkdir, r"a\.png: is a folder, not a file\. Pass a file"),
        ("a.png", Path.touch, r"a\.png: is empty\. Download or export it again"),
        (
            "a.png",
            lambda path: path.write_text("\n<!DOCTYPE html><p>Log in"),
            r"a\.png: is an HTML page: the download failed\. Download it again, and log in",
        ),
        (
            "a.png",
            lambda path: Image.fromarray(RGB).save(path, format="GIF"),
            r"a\.png: is a GIF image, but only PNG, BMP, TIFF and JPEG are read\. Export it .*as PNG",
        ),
        ("a.png", half_of(".png"), r"a\.png: is truncated or damaged \(.+\)\. Download or export it again"),
        ("a.bmp", half_of(".bmp"), r"a\.bmp: is truncated or damaged \(.+\)\. Download or export it again"),
        ("a.tif", half_of(".tif"), r"a\.tif: is (truncated or damaged|no PNG).+\. Download"),
        ("a.jpg", half_of(".jpg"), r"a\.jpg: is truncated or damaged \(.+\)\. Download or export it again"),
        ("a.tif", pages, r"a\.tif: contains 3 pages\. Save the page you need"),
        ("a.png", rotated(RGB), r"a\.png: has EXIF orientation 6, .*upright: magick .*a\.png -auto-orient"),
        ("a.jpg", rotated(RGB), r"a\.jpg: has EXIF orientation 6, .*Save image and mask upright"),
        ("a.tif", rotated(RGB), r"a\.tif: has EXIF orientation 6, .*Save image and mask upright"),
    ],
    ids=[
        "absent", "folder", "empty", "HTML", "GIF", "half a PNG", "half a BMP", "half a TIFF", "half a JPEG",
        "pages", "rotated PNG", "rotated JPEG", "rotated TIFF",
    ],
)  # fmt: skip
@pytest.mark.parametrize("load", [load_image, load_mask])
def test_a_file_that_is_not_one_upright_image_is_refused(
    load: Callable[..., Any], name: str, write: Write, message: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError, match=message):
        load(tmp_path / name, PLAIN)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.png", with_alpha("RGB", 200), r"a\.png: has transparent pixels \(alpha down to 200 of 255\)\. Flatten it"),
        ("a.png", with_alpha("L", 0), r"a\.png: has transparent pixels \(alpha down to 0 of 255\)\. Flatten it"),
        (
            "a.png",
            lambda path: Image.fromarray(RGB).convert("P").save(path, transparency=bytes(range(256))),
            r"a\.png: has transparent pixels \(alpha down to \d+ of 255\)\. Flatten it",
        ),
        (
            "a.jpg",
            lambda path: Image.fromarray(RGB).convert("CMYK").save(path),
            r"a\.jpg: has pixels of mode CMYK, .*Export it as RGB",
        ),
        ("a.tif", mask(np.ones((2, 2), np.float32)), r"a\.tif: has pixels of mode F, .*Export it as RGB"),
    ],
    ids=["RGBA", "grey and alpha", "transparent palette", "CMYK", "float"],
)
def test_an_image_whose_colours_are_uncertain_is_refused(name: str, write: Write, message: str, tmp_path: Path) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError, match=message):
        load_image(tmp_path / name, PLAIN)


def test_a_decompression_bomb_is_refused_and_a_large_slide_is_read_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")  # 48 pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 23)
    with pytest.raises(DataError, match=r"a\.png: has more than 46 pixels, .*Save it as a tiled TIFF"):
        open_image(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(tmp_path / "a.png").size == (8, 6)


@pytest.mark.parametrize(
    ("recorded", "options", "reported"),
    [
        (0.25, PLAIN, "0.25"),
        (None, HistologyOptions(um_per_px=1.0), "1"),
        (0.25, HistologyOptions(um_per_px=0.6), None),
        (0.25, HistologyOptions(resample=True), None),
        (0.53, PLAIN, None),
        (0.52, PLAIN, "0.52"),
        (0.71, PLAIN, None),
        (0.72, PLAIN, "0.72"),
    ],
    ids=["file", "option", "option over file", "resampled", "15 % less", "16 % less", "15 % more", "16 % more"],
)
def test_another_magnification_is_reported_unless_it_is_resampled(
    recorded: float | None, options: HistologyOptions, reported: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path, **({"dpi": (25400 / recorded, 25400 / recorded)} if recorded else {}))
    findings = load_image(path, options)[1]
    assert [finding.severity for finding in findings] == ([] if reported is None else [Severity.WARNING])
    if reported is not None:
        assert f"has {reported} µm per pixel, and the network was trained at 0.62005" in findings[0].problem
        assert "resample: true" in findings[0].remedy


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"um_per_px": 0.0}, r"um_per_px is 0\.0; pass"),
        ({"um_per_px": float("nan")}, "um_per_px is nan; pass"),
        ({"label_values": "gland"}, "label_values is 'gland'; pass one of: instances, binary"),
    ],
    ids=["zero", "NaN", "label values"],
)
def test_options_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HistologyOptions(**values)


def test_a_mask_of_its_images_size_has_no_finding() -> None:
    assert pair_findings("a.png", (4, 2), "a_anno.png", (4, 2)) == []


def test_every_fault_of_a_pair_is_returned_and_none_raised(tmp_path: Path) -> None:
    dpi = (25400 / 0.25, 25400 / 0.25)
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "a.tif", dpi=dpi)
    Image.fromarray(255 * (IDS > 0).astype(np.uint8)).save(tmp_path / "a_anno.png")
    findings = check_histology(tmp_path / "a.tif", tmp_path / "a_anno.png", PLAIN)
    assert [(finding.rule, Path(finding.file).name) for finding in findings] == [
        ("image-magnification", "a.tif"),
        ("image-mode", "a.tif"),
        ("mask-values", "a_anno.png"),
        ("mask-size", "a_anno.png"),
    ]
    assert "is 4 × 2 pixels, its image" in findings[-1].problem
    assert "a.tif is 8 × 6" in findings[-1].problem
    assert "Export both at one size" in findings[-1].remedy


def test_a_file_that_cannot_be_opened_leaves_the_other_to_be_checked(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    Image.fromarray(RGB).save(tmp_path / "a_anno.png")
    rules = [finding.rule for finding in check_histology(tmp_path / "a.png", tmp_path / "a_anno.png", PLAIN)]
    assert rules == ["image-unreadable", "mask-mode"]
    assert [finding.rule for finding in check_histology(tmp_path / "a.png", None, PLAIN)] == ["image-unreadable"]


def test_all_real_glas_images_and_annotations_have_no_findings(shared: Path) -> None:
    folder = shared / "data" / "glas"
    for number in range(1, 86):
        assert check_histology(folder / f"train_{number}.png", folder / f"train_{number}_anno.png", PLAIN) == []
