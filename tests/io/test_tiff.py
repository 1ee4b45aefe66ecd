"""Windows of tiled TIFFs equal the same region of the whole image, or the file is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from i2net_bundle.io import tiff as module
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.tiff import TiledTiff, is_tiled_tiff

RGB = np.random.default_rng(0).integers(0, 256, (150, 201, 3), dtype=np.uint8)
TILED: dict[str, Any] = {"tile": (64, 32), "compression": "zlib", "metadata": None}
CM_TO_UM = 1e4


def saved(path: Path, image: np.ndarray = RGB, **how: Any) -> Path:
    tifffile.imwrite(path, image, **{**TILED, "photometric": "rgb" if image.ndim == 3 else "minisblack", **how})
    return path


def whole(tiff: TiledTiff) -> np.ndarray:
    return tiff.read(slice(0, tiff.size[0]), slice(0, tiff.size[1]))


@pytest.mark.parametrize("bigtiff", [False, True], ids=["TIFF", "BigTIFF"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
@pytest.mark.parametrize(
    ("rows", "cols"),
    [
        (slice(0, 150), slice(0, 201)),
        (slice(64, 128), slice(32, 64)),
        (slice(63, 65), slice(31, 33)),
        (slice(149, 150), slice(200, 201)),
        (slice(5, 140), slice(70, 71)),
    ],
    ids=["all", "one tile", "corner of four tiles", "last pixel", "one column"],
)
def test_a_window_contains_the_images_own_pixels(
    rows: slice, cols: slice, compression: str | None, bigtiff: bool, tmp_path: Path
) -> None:
    path = saved(tmp_path / "a.tif", compression=compression, bigtiff=bigtiff)
    with TiledTiff(path) as tiff:
        assert tiff.size == (150, 201)
        window = tiff.read(rows, cols)
    assert window.dtype == np.uint8
    assert np.array_equal(window, RGB[rows, cols])


def test_grey_becomes_rgb(tmp_path: Path) -> None:
    with TiledTiff(saved(tmp_path / "a.tif", RGB[..., 0])) as tiff:
        assert np.array_equal(whole(tiff), RGB[..., [0, 0, 0]])


def test_a_predictor_is_undone(tmp_path: Path) -> None:
    with TiledTiff(saved(tmp_path / "a.tif", predictor=2)) as tiff:
        assert np.array_equal(whole(tiff), RGB)


@pytest.mark.parametrize("compression", ["jpeg", "lzw", "jpeg2000"])
def test_compressions_of_slide_scanners_are_decoded(compression: str, tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs", reason="needs the extra 'slides'")
    y, x = np.mgrid[:150, :201]
    image = np.stack([y, x, (x + y) // 2], axis=-1).astype(np.uint8)  # smooth, since JPEG is lossy
    with TiledTiff(saved(tmp_path / "a.tif", image, tile=(64, 64), compression=compression)) as tiff:
        error = np.abs(whole(tiff).astype(int) - image)
    assert error.mean() < (2 if compression == "jpeg" else 1e-9)


def test_few_decoded_tiles_are_kept_and_none_is_decoded_twice_for_one_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CACHE_BYTES", 3 * 64 * 32 * 3)
    with TiledTiff(saved(tmp_path / "a.tif")) as tiff:
        tiff.read(slice(0, 10), slice(0, 96))
        tiff.read(slice(0, 10), slice(0, 96))
        assert tiff._tile.cache_info()[:] == (3, 3, 3, 3)  # hits, misses, most, now
        assert np.array_equal(whole(tiff), RGB)
        assert tiff._tile.cache_info().currsize == 3


@pytest.mark.parametrize("marked", [True, False], ids=["marked as reduced", "of the same shape"])
def test_a_pyramid_gives_its_full_resolution(marked: bool, tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(RGB[::4, ::4], photometric="rgb", subfiletype=int(marked), **TILED)
        writer.write(RGB, photometric="rgb", **TILED)
        writer.write(RGB[::2, ::2], photometric="rgb", subfiletype=int(marked), **TILED)
    assert is_tiled_tiff(tmp_path / "a.tif")
    with TiledTiff(tmp_path / "a.tif") as tiff:
        assert np.array_equal(whole(tiff), RGB)


def test_an_ome_pyramid_gives_its_full_resolution_and_pixel_size(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    size = {"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25}
    with tifffile.TiffWriter(path) as writer:
        how = {"tile": (64, 32), "photometric": "rgb"}
        writer.write(RGB, subifds=1, metadata={"axes": "YXS", **size}, **how)
        writer.write(RGB[::2, ::2], subfiletype=1, **how)
    with TiledTiff(path) as tiff:
        assert np.array_equal(whole(tiff), RGB)
        assert tiff.um_per_px == pytest.approx(0.25)


def test_a_scanners_thumbnail_label_and_pixel_size_are_understood(tmp_path: Path) -> None:
    strips = {"photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.svs") as writer:
        writer.write(RGB, description="Aperio Image Library v12\r\n201x150|AppMag = 20|MPP = 0.5021", **TILED)
        writer.write(RGB[:50, :70], description="Aperio Image Library v12\r\nthumbnail", **strips)
        writer.write(RGB[:40, :40], description="Aperio Image Library v12\r\nlabel 40x40", subfiletype=1, **strips)
    with TiledTiff(tmp_path / "a.svs") as tiff:
        assert tiff.um_per_px == pytest.approx(0.5021)
        assert np.array_equal(whole(tiff), RGB)


@pytest.mark.parametrize(
    ("how", "um_per_px"),
    [
        ({"resolution": (CM_TO_UM / 0.5, CM_TO_UM / 0.5), "resolutionunit": "CENTIMETER"}, 0.5),
        ({"resolution": (25400 / 0.62, 25400 / 0.62), "resolutionunit": "INCH"}, 0.62),
        ({"resolution": (40000, 40000), "resolutionunit": "NONE"}, None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (40000, 20000), "resolutionunit": "INCH"}, None),
        ({}, None),
    ],
    ids=["cm", "inch", "no unit", "printer", "oblong pixels", "none"],
)
def test_the_pixel_size_is_read_from_the_resolution(
    how: dict[str, Any], um_per_px: float | None, tmp_path: Path
) -> None:
    with TiledTiff(saved(tmp_path / "a.tif", **how)) as tiff:
        assert tiff.um_per_px == (None if um_per_px is None else pytest.approx(um_per_px, rel=1e-4))


def test_a_tile_that_the_scanner_left_out_is_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif")
    with tifffile.TiffFile(path, mode="r+b") as file:
        counts = file.pages[0].tags["TileByteCounts"]
        counts.overwrite([0, *counts.value[1:]])
    with TiledTiff(path) as tiff:
        pixels = whole(tiff)
    assert (pixels[:64, :32] == 255).all()
    assert np.array_equal(pixels[64:], RGB[64:])


@pytest.mark.parametrize(
    ("image", "how", "message"),
    [
        (RGB.astype(np.uint16), {}, r"has pixels of 16 bits \(uint16\)\. Export it as RGB with 8 bits"),
        (RGB[..., 0] > 99, {"compression": None}, r"has pixels of 1 bits"),
        (RGB[..., :1].repeat(4, 2), {"extrasamples": ["unassalpha"]}, "contains 4 channels of kind RGB.*transparency"),
        (RGB[..., 0], {"photometric": "miniswhite"}, "contains 1 channels of kind MINISWHITE"),
        (np.moveaxis(RGB, -1, 0), {"planarconfig": "separate"}, "contains each colour as a plane of its own"),
        (RGB, {"extratags": [(274, 3, 1, 6, True)]}, r"is stored rotated or mirrored \(orientation 6\)"),
        (RGB, {"tile": None}, "is not stored in tiles"),
    ],
    ids=["16 bits", "1 bit", "alpha", "inverted grey", "planes", "rotated", "strips"],
)
def test_pixels_that_could_be_misread_are_refused(
    image: np.ndarray, how: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=rf"a\.tif: {message}"):
        TiledTiff(saved(tmp_path / "a.tif", image, **how))


def test_pages_that_are_not_one_images_resolutions_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(RGB, photometric="rgb", **TILED)
        writer.write(255 - RGB, photometric="rgb", **TILED)
    with pytest.raises(DataError, match=r"a\.tif: contains 2 pages that are not .*Save the page you need"):
        TiledTiff(tmp_path / "a.tif")


def test_a_compression_that_needs_another_package_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.tif")
    monkeypatch.setattr(tifffile.TIFF.DECOMPRESSORS, "_codecs", {})  # as where imagecodecs is not installed
    monkeypatch.setattr(type(tifffile.TIFF.DECOMPRESSORS), "__getitem__", lambda codecs, key: {}[key])
    with pytest.raises(DataError, match=r"a\.tif: is compressed by ADOBE_DEFLATE, .*i2net-bundle\[slides\]"):
        TiledTiff(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_truncated_file_is_refused_where_its_tiles_are_missing(compression: str | None, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", compression=compression)
    path.write_bytes(path.read_bytes()[:-5000])
    with TiledTiff(path) as tiff:
        assert np.array_equal(tiff.read(slice(0, 64), slice(0, 32)), RGB[:64, :32])
        with pytest.raises(DataError, match=r"a\.tif: is truncated or damaged \(.+\)\. Download or export it again"):
            whole(tiff)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"\x89PNG\r\n\x1a\n"], ids=["empty", "header alone", "PNG"])
def test_what_is_no_whole_tiff_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    assert not is_tiled_tiff(path)
    with pytest.raises(DataError, match=r"a\.tif: .*truncated or damaged"):
        TiledTiff(path)


def test_a_tiff_in_strips_and_a_missing_file_are_no_tiled_tiffs(tmp_path: Path) -> None:
    assert not is_tiled_tiff(saved(tmp_path / "strips.tif", tile=None))
    assert not is_tiled_tiff(tmp_path / "missing.tif")
    assert is_tiled_tiff(saved(tmp_path / "tiled.tif"))
