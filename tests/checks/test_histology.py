"""A histology image is read correctly, or refused with the file, the fault and the remedy."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2net_bundle.checks.histology import check_histology, load_image, load_mask, pair_findings
from i2net_bundle.io.findings import DataError, Severity
from i2net_bundle.io.images import image_um_per_px, open_image
from i2net_bundle.io.options import HistologyOptions

PLAIN, BINARY = HistologyOptions(), HistologyOptions(label_values="binary")
IDS_DECLARED = HistologyOptions(label_values="instances")
RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
IDS = np.array([[0, 0, 1, 1], [2, 2, 0, 3]], np.uint8)
TRAINING_DPI = 25400 / 0.62005  # 25.4 mm per inch

Write = Callable[[Path], Any]


def write_png(path: Path, rows: list[bytes], width: int, bits: int, colour_type: int) -> None:
    """Save a PNG of any bit depth, which Pillow cannot; ``rows`` hold the packed samples."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def rotated(array: np.ndarray) -> Write:
    def write(path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(array).save(path, exif=exif)

    return write


def pages(path: Path) -> None:
    page = Image.fromarray(RGB)
    page.save(path, save_all=True, append_images=[page, page])


def with_alpha(mode: str, alpha: int) -> Write:
    def write(path: Path) -> None:
        image = Image.fromarray(RGB).convert(mode)
        image.putalpha(alpha)
        image.save(path)

    return write


def half_of(suffix: str) -> Write:
    def write(path: Path) -> None:
        whole = path.with_name(f"whole{suffix}")
        Image.fromarray(np.tile(RGB, (20, 20, 1))).save(whole)
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])

    return write


def mask(array: np.ndarray) -> Write:
    return lambda path: Image.fromarray(array).save(path)


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
        ("a.tif", pages, r"a\.tif: holds 3 pages\. Save the page you need"),
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


def test_a_bomb_is_refused_and_a_large_slide_is_read_without_a_warning(
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
    ("suffix", "dtype"),
    [(".png", np.uint8), (".bmp", np.uint8), (".tif", np.uint8), (".png", np.uint16), (".tif", np.int32)],
    ids=["PNG", "BMP", "TIFF", "16-bit PNG", "32-bit TIFF"],
)
def test_a_mask_keeps_its_ids(suffix: str, dtype: type, tmp_path: Path) -> None:
    ids = IDS.astype(dtype) * (1 if dtype == np.uint8 else 300)
    Image.fromarray(ids).save(tmp_path / f"a{suffix}")
    loaded, findings = load_mask(tmp_path / f"a{suffix}", PLAIN)
    assert loaded.dtype == np.int32
    assert np.array_equal(loaded, ids)
    assert findings == []


@pytest.mark.parametrize("transparency", [None, bytes([0] + [255] * 255)], ids=["opaque", "transparent background"])
def test_a_palette_mask_keeps_its_indices_not_its_colours(transparency: bytes | None, tmp_path: Path) -> None:
    source = Image.fromarray(IDS).convert("P")
    source.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 90, 90, 90])
    source.save(tmp_path / "a.png", **({} if transparency is None else {"transparency": transparency}))
    assert np.array_equal(load_mask(tmp_path / "a.png", PLAIN)[0], IDS)


@pytest.mark.parametrize(
    ("bits", "rows"),
    [(1, [0b01000000]), (2, [0b00011011]), (4, [0x02, 0x9F])],
    ids=["1 bit", "2 bits", "4 bits"],
)
def test_a_mask_of_few_bits_keeps_its_ids_though_pillow_stretches_them(
    bits: int, rows: list[int], tmp_path: Path
) -> None:
    expected = {1: [0, 1, 0, 0], 2: [0, 1, 2, 3], 4: [0, 2, 9, 15]}[bits]
    write_png(tmp_path / "a.png", [bytes(rows)], width=4, bits=bits, colour_type=0)
    assert load_mask(tmp_path / "a.png", PLAIN)[0].tolist() == [expected]


def test_a_mask_with_opaque_alpha_keeps_its_ids(tmp_path: Path) -> None:
    source = Image.fromarray(IDS)
    source.putalpha(255)
    source.save(tmp_path / "a.png")
    assert np.array_equal(load_mask(tmp_path / "a.png", PLAIN)[0], IDS)


@pytest.mark.parametrize("high", [255, 1])
def test_a_declared_binary_mask_becomes_0_and_1(high: int, tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, high], [high, 0]], np.uint8)).save(tmp_path / "a.png")
    assert load_mask(tmp_path / "a.png", BINARY)[0].tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("options", [PLAIN, BINARY], ids=["instances", "binary"])
def test_an_empty_mask_is_allowed(options: HistologyOptions, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "a.png")
    loaded, findings = load_mask(tmp_path / "a.png", options)
    assert (loaded.sum(), findings) == (0, [])


@pytest.mark.parametrize(
    ("name", "write", "options", "message"),
    [
        ("a.png", mask(RGB), PLAIN, r"a\.png: holds colours \(RGB\), not ids\. Save one whole number per pixel"),
        ("a.png", with_alpha("RGB", 255), PLAIN, r"a\.png: holds colours \(RGBA\), not ids\. Save one whole number"),
        ("a.png", with_alpha("L", 9), PLAIN, r"a\.png: has transparent pixels \(alpha down to 9 of 255\)\. Save one"),
        ("a.tif", mask(np.ones((2, 2), np.float32)), PLAIN, r"a\.tif: contains floating-point numbers, .*Save one"),
        ("a.jpg", mask(IDS), PLAIN, r"a\.jpg: is a JPEG file, whose compression changes the ids\. Save one whole"),
        ("a.tif", mask(IDS.astype(np.int32) - 1), PLAIN, r"a\.tif: holds -1, 0, 1, 2, but ids start at 0\. Save it as"),
        ("a.png", mask(IDS // 3 * 255), IDS_DECLARED, r"a\.png: holds 0, 255 only and looks binary, .*-values binary"),
        ("a.png", mask(255 + 0 * IDS), IDS_DECLARED, r"a\.png: holds 255 only and looks binary, .*_values: binary"),
        ("a.png", mask(IDS), BINARY, r"a\.png: holds 0, 1, 2, 3, but a binary mask has .*\. Declare ids"),
        ("a.png", mask(IDS // 3 * 127), BINARY, r"a\.png: holds 0, 127, but a binary mask .*-values instances"),
        (
            "a.png",
            mask(np.arange(12, dtype=np.uint8).reshape(3, 4)),
            BINARY,
            r"a\.png: holds 0, 1, 2, 3, 4, 5, 6, 7, … \(12 values\), but a binary mask",
        ),
    ],
    ids=[
        "RGB", "RGBA", "transparent", "float", "JPEG", "negative", "0 and 255 as ids", "255 as id",
        "ids as binary", "0 and 127 as binary", "many values as binary",
    ],
)  # fmt: skip
def test_a_mask_that_is_not_what_was_declared_is_refused(
    name: str, write: Write, options: HistologyOptions, message: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError, match=message):
        load_mask(tmp_path / name, options)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.png", {"dpi": (TRAINING_DPI, TRAINING_DPI)}),
        ("a.bmp", {"dpi": (TRAINING_DPI, TRAINING_DPI)}),
        ("a.tif", {"dpi": (TRAINING_DPI, TRAINING_DPI)}),
        ("a.tif", {"resolution_unit": 3, "x_resolution": 1e4 / 0.62005, "y_resolution": 1e4 / 0.62005}),
    ],
    ids=["PNG", "BMP", "TIFF in inches", "TIFF in cm"],
)
def test_the_pixel_size_is_read_from_the_file(name: str, how: dict[str, Any], tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / name, **how)
    um_per_px = image_um_per_px(open_image(tmp_path / name))
    assert um_per_px == pytest.approx(0.62005, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.png", {}),
        ("a.png", {"dpi": (300, 300)}),
        ("a.bmp", {}),
        ("a.tif", {}),
        ("a.jpg", {}),
        ("a.jpg", {"dpi": (72, 72)}),
        ("a.png", {"dpi": (0, 0)}),
        ("a.png", {"dpi": (25400, 12700)}),
    ],
    ids=["PNG", "300 dpi", "BMP at 96 dpi", "TIFF", "JPEG", "72 dpi", "zero", "oblong pixels"],
)
def test_a_resolution_of_screens_or_printers_tells_no_pixel_size(
    name: str, how: dict[str, Any], tmp_path: Path
) -> None:
    Image.fromarray(RGB).save(tmp_path / name, **how)
    assert image_um_per_px(open_image(tmp_path / name)) is None
    assert load_image(tmp_path / name, PLAIN)[1] == []


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


def test_all_real_glas_images_and_annotations_check_clean(shared: Path) -> None:
    folder = shared / "data" / "glas"
    for number in range(1, 86):
        assert check_histology(folder / f"train_{number}.png", folder / f"train_{number}_anno.png", PLAIN) == []


@pytest.mark.parametrize(
    ("ids", "refused"), [((0, 18, 255), False), ((0, 7, 26), True)], ids=["declared classes", "beyond them"]
)
def test_class_masks_hold_the_declared_classes_and_the_ignored_id_only(
    tmp_path: Path, ids: tuple[int, ...], refused: bool
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([ids], np.uint8)).save(path)
    options = HistologyOptions(label_values="classes", num_classes=19, ignore_id=255)
    if not refused:
        np.testing.assert_array_equal(load_mask(path, options)[0], [ids])
        return
    with pytest.raises(DataError, match=r"a\.png: holds 0, 7, 26, but the classes are 0 to 18, and 255 is ignored\."):
        load_mask(path, options)


UNDECLARED = [(2, (0, 1)), (2, (0,)), (3, (0, 1, 2)), (None, (0, 1, 17))]


@pytest.mark.parametrize(("num_classes", "ids"), UNDECLARED)
def test_undeclared_masks_are_class_ids_where_they_can_be(
    tmp_path: Path, num_classes: int | None, ids: tuple[int, ...]
) -> None:
    mask(np.array([ids], np.uint8))(tmp_path / "a.png")
    np.testing.assert_array_equal(load_mask(tmp_path / "a.png", HistologyOptions(num_classes=num_classes))[0], [ids])


@pytest.mark.parametrize(
    ("num_classes", "ids", "problem"),
    [
        (
            2,
            (0, 255),
            r"holds 0, 255 only and looks binary, but is not declared as binary\. Declare .*binary if 255",
        ),
        (
            None,
            (0, 255),
            r"holds 0, 255 only and looks binary, but is not declared as binary\. Declare .*--label-values",
        ),
        (3, (0, 255), r"looks binary, but is not declared as binary, and there are 3 classes\. Declare"),
        (
            2,
            (0, 1, 2, 3),
            r"but the classes are 0 to 1, and nothing else is declared\. .*instances .*binary",
        ),
        (3, (0, 3), r"holds 0, 3, but the classes are 0 to 2\. Correct the labels of the data list"),
    ],
    ids=["binary", "binary without a data list", "binary of three classes", "instances", "beyond the classes"],
)
def test_undeclared_masks_of_other_values_are_refused_with_the_choices(
    tmp_path: Path, num_classes: int | None, ids: tuple[int, ...], problem: str
) -> None:
    mask(np.array([ids], np.uint8))(tmp_path / "a.png")
    with pytest.raises(DataError, match=rf"a\.png: .*{problem}"):
        load_mask(tmp_path / "a.png", HistologyOptions(num_classes=num_classes))


@pytest.mark.parametrize("label_values", ["instances", "binary"])
def test_masks_of_two_classes_cannot_be_declared_where_there_are_more(label_values: str) -> None:
    with pytest.raises(
        ValueError, match=rf"label_values is '{label_values}', which makes two classes, and there are 3"
    ):
        HistologyOptions(label_values=label_values, num_classes=3)
