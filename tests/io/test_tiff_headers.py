"""The chain of pages of a TIFF is checked before a library follows it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2net_bundle.checks.histology import check_histology, load_image
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.images import image_um_per_px, open_image
from i2net_bundle.io.options import HistologyOptions
from i2net_bundle.io.tiff import TiledTiff, is_tiled_tiff
from i2net_bundle.io.tiff_headers import stack_size

RGB = np.random.default_rng(0).integers(90, 250, (32, 48, 3), dtype=np.uint8)
TILES = {"tile": (16, 16)}


def written(path: Path, pages: int, bigtiff: bool = False, byteorder: str = "<", **how: object) -> Path:
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as writer:
        for number in range(pages):
            writer.write(RGB[:: 2**number, :: 2**number], photometric="rgb", metadata=None, **how)
    return path


def with_last_link(path: Path, target: int | None) -> Path:
    """Let the last page point to an offset; None for itself."""
    with tifffile.TiffFile(path) as tiff:
        last, big, order = tiff.pages[-1], tiff.is_bigtiff, tiff.byteorder
    content = bytearray(path.read_bytes())
    count, tag, link = ("Q", 20, "Q") if big else ("H", 12, "I")
    (tags,) = struct.unpack_from(order + count, content, last.offset)
    where = last.offset + struct.calcsize(count) + tags * tag
    struct.pack_into(order + link, content, where, last.offset if target is None else target)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("how", [{}, TILES], ids=["strips", "tiles"])
@pytest.mark.parametrize("bigtiff", [False, True], ids=["TIFF", "BigTIFF"])
@pytest.mark.parametrize("byteorder", ["<", ">"], ids=["little-endian", "big-endian"])
@pytest.mark.parametrize("pages", [1, 2])
def test_a_chain_of_pages_that_loops_is_refused(
    pages: int, byteorder: str, bigtiff: bool, how: dict[str, object], tmp_path: Path
) -> None:
    path = with_last_link(written(tmp_path / "a.tif", pages, bigtiff, byteorder, **how), None)
    (found,) = check_histology(path, None, HistologyOptions())
    assert found.problem == f"is damaged: after {pages} pages, its chain of pages leads back to an earlier one"
    assert not is_tiled_tiff(path)  # at once, though its tiles could be read
    with pytest.raises(DataError, match="leads back to an earlier one"):
        TiledTiff(path)


def test_a_chain_of_pages_that_leaves_the_file_is_refused(tmp_path: Path) -> None:
    path = with_last_link(written(tmp_path / "a.tif", 1), 10**8)
    (found,) = check_histology(path, None, HistologyOptions())
    assert found.problem == "is truncated or damaged: its chain of pages leaves the file"


@pytest.mark.parametrize("how", [{}, TILES], ids=["strips", "tiles"])
def test_a_stack_that_imagej_stores_in_one_page_is_refused(how: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    description = "ImageJ=1.54f\nimages=3\nchannels=3\nhyperstack=true\nmode=color\n"
    tifffile.imwrite(path, RGB[..., 0], description=description, metadata=None, **how)
    path.write_bytes(path.read_bytes() + RGB.transpose(2, 0, 1)[1:].tobytes())
    with pytest.raises(DataError, match=r"is a stack of 3 images"):
        load_image(path, HistologyOptions())
    if how:
        with pytest.raises(DataError, match=r"is a stack of 3 images"):
            TiledTiff(path)


def test_the_text_of_other_programs_is_no_stack() -> None:
    assert stack_size("images=7") == stack_size("ImageJ=1.54f\nunit=micron\n") == 1


@pytest.mark.parametrize("unit", ["micron", "Micron", "micrometer", "um", "\\u00B5m"])
def test_the_pixel_size_of_fiji_is_read(unit: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    how = {"photometric": "rgb", "metadata": None, "resolution": (4, 4), "resolutionunit": "NONE"}
    tifffile.imwrite(path, RGB, description=f"ImageJ=1.54f\nunit={unit}\n", **how)
    assert image_um_per_px(open_image(path)) == pytest.approx(0.25)
    (found,) = check_histology(path, None, HistologyOptions())
    assert found.problem.startswith("has 0.25 µm per pixel")
    tifffile.imwrite(path, RGB, description=f"ImageJ=1.54f\nunit={unit}\n", **how, **TILES)
    with TiledTiff(path) as tiff:
        assert tiff.um_per_px == pytest.approx(0.25)
