"""A 2D image is read correctly, or refused by its kind before memory is allocated for it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from i2net_bundle.checks.histology import check_histology, load_image, load_mask
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.options import HistologyOptions

RGB = np.random.default_rng(0).integers(90, 250, (32, 48, 3), dtype=np.uint8)
GREY = RGB[..., 0]
PLAIN = HistologyOptions()


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def claiming_png(path: Path, width: int, height: int) -> Path:
    """A PNG of one row of pixels whose header claims many more."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = png_chunk(b"IDAT", zlib.compress(bytes(1 + 3 * width)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + rows + png_chunk(b"IEND", b""))
    return path


def test_a_header_that_claims_more_than_its_file_contains_is_refused(tmp_path: Path) -> None:
    (found,) = check_histology(claiming_png(tmp_path / "a.png", 13000, 13000), None, PLAIN)
    assert found.rule == "claimed-size"
    assert "its header claims 507.0 MB, and a file of" in found.problem


def test_an_uncompressed_tiff_contains_all_that_it_claims(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tiff.pages.first.tags[name].overwrite(9000)
    (found,) = check_histology(path, None, PLAIN)
    assert "its header claims 243.0 MB" in found.problem


KINDS = {
    "JPEG 2000": ({"compression": "jpeg2000", "photometric": "rgb"}, RGB, "compressed by JPEG2000"),
    "WebP": ({"compression": "webp", "photometric": "rgb"}, RGB, "compressed by WEBP"),
    "floating point": ({"photometric": "rgb"}, (RGB / 255).astype(np.float32), "32-bit floating-point RGB pixels"),
    "half precision": ({"photometric": "rgb"}, (RGB / 255).astype(np.float16), "16-bit floating-point RGB pixels"),
    "signed": ({"photometric": "rgb"}, RGB.astype(np.int16), "16-bit signed RGB pixels"),
    "32-bit colour": ({"photometric": "rgb"}, RGB.astype(np.uint32), "32-bit unsigned RGB pixels"),
    "grey with three channels": (
        {"photometric": "minisblack", "planarconfig": "contig"},
        RGB,
        "8-bit unsigned MINISBLACK pixels with 3 channels",
    ),
    "grey with two channels": (
        {"photometric": "minisblack", "planarconfig": "contig"},
        RGB[..., :2],
        "8-bit unsigned MINISBLACK pixels with 2 channels",
    ),
    "signed bytes": ({}, GREY.astype(np.int8), "8-bit signed MINISBLACK pixels with 1 channel"),
    "planes of 16 bits": (
        {"photometric": "rgb", "planarconfig": "separate"},
        np.ascontiguousarray(RGB.transpose(2, 0, 1)).astype(np.uint16) << 4,
        "16-bit unsigned RGB pixels with 3 channels in separate planes",
    ),
    "slices in depth": (
        {"volumetric": True, "tile": (16, 16, 16)},
        np.stack(16 * [GREY]),
        "8-bit unsigned MINISBLACK pixels with 1 channel and 16 slices",
    ),
}


@pytest.mark.parametrize(("how", "pixels", "kind"), KINDS.values(), ids=KINDS)
def test_an_intact_tiff_that_is_not_read_is_named_by_its_kind(
    how: dict[str, str], pixels: np.ndarray, kind: str, tmp_path: Path
) -> None:
    if "compression" in how:
        pytest.importorskip("imagecodecs", reason="needs the extra 'slides'")
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata=None, **how)
    with pytest.raises(DataError, match=rf"is a TIFF of .*{kind}.*, which is not read\. Export it as RGB") as caught:
        load_image(tmp_path / "a.tif", PLAIN)
    assert "damaged" not in str(caught.value)


def test_planes_of_8_bits_are_read(tmp_path: Path) -> None:
    planes = np.ascontiguousarray(RGB.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", metadata=None)
    assert np.array_equal(load_image(tmp_path / "a.tif", PLAIN)[0], RGB)


@pytest.mark.parametrize("how", [{"tile": (16, 16)}, {"rowsperstrip": 8}], ids=["tiles", "strips"])
def test_a_tiff_without_all_its_strips_or_tiles_is_refused(how: dict[str, Any], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", metadata=None, **how)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tiff:
        tiff.pages.first.tags["ImageLength"].overwrite(320)
    with pytest.raises(DataError, match=r"its header lists \d+ of \d+ strips or tiles"):
        load_image(tmp_path / "a.tif", PLAIN)


@pytest.mark.parametrize("colours", [0, 3])
def test_a_palette_with_fewer_colours_than_the_pixels_need_is_refused(colours: int, tmp_path: Path) -> None:
    palette = png_chunk(b"PLTE", bytes(3 * colours)) if colours else b""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, 8, 3, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes([0, 0, 1, 2, 200])))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + palette + pixels + png_chunk(b"IEND", b""))
    (found,) = check_histology(tmp_path / "a.png", None, PLAIN)
    assert found.problem == f"is damaged: its palette has {colours} colours, and its pixels need 201"


def test_a_png_that_does_not_match_its_checksums_is_refused(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    for place in range(content.index(b"IDAT") + 4, len(content) - 12, len(content) // 20):
        (tmp_path / "a.png").write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(DataError, match=r"a\.png: is truncated or damaged"):
            load_image(tmp_path / "a.png", PLAIN)


@pytest.mark.parametrize("kind", ["WEBP", "JPEG2000", "GIF"])
def test_an_intact_image_of_another_format_is_named(kind: str, tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png", format=kind)
    with pytest.raises(DataError, match=rf"is a {kind} image, but only PNG, BMP, TIFF and JPEG are read"):
        load_image(tmp_path / "a.png", PLAIN)


def test_a_dicom_file_under_another_suffix_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bytes(128) + b"DICM" + bytes(400))
    with pytest.raises(DataError, match="is a DICOM file, not a PNG"):
        load_image(tmp_path / "a.png", PLAIN)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_stored_as_zero_is_shown_white(dtype: type, tmp_path: Path) -> None:
    grey = GREY.astype(dtype) * (np.iinfo(dtype).max // 255)
    tifffile.imwrite(tmp_path / "a.tif", np.iinfo(dtype).max - grey, photometric="miniswhite", metadata=None)
    image, _ = load_image(tmp_path / "a.tif", PLAIN)
    assert np.array_equal(image, GREY[..., None].repeat(3, -1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_mask_that_stores_white_as_zero_is_refused(dtype: type, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", (GREY > 150).astype(dtype), photometric="miniswhite", metadata=None)
    with pytest.raises(DataError, match=r"stores white as 0 \(MinIsWhite\)"):
        load_mask(tmp_path / "a.tif", PLAIN)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_grey_values_of_fewer_bits_than_the_file_s_use_the_whole_range(bits: int, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(GREY.astype(np.uint16) << (bits - 8)).save(path)
    image, (found,) = load_image(path, PLAIN)
    assert np.array_equal(image[..., 0], GREY)
    assert found.problem == f"has 16 bits per channel, but its values need only {bits}, of which the highest 8 are used"


def test_colours_of_12_bits_in_a_file_of_16_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RGB.astype(np.uint16) << 4, photometric="rgb", metadata=None)
    with pytest.raises(DataError, match="it would be nearly black"):
        load_image(tmp_path / "a.tif", PLAIN)
    tifffile.imwrite(tmp_path / "a.tif", RGB.astype(np.uint16) << 8, photometric="rgb", metadata=None)
    assert np.array_equal(load_image(tmp_path / "a.tif", PLAIN)[0], RGB)
