"""Faults of histology images and their masks."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from i2net_bundle.checks.histology import check_histology
from i2net_bundle.io.options import HistologyOptions
from tests.checks.histology_files import IDS, RGB, half_of, mask, pages, rotated, with_alpha
from tests.docs.faults.table import Make, Printed, found
from tests.io.test_images import claiming_png, png_chunk

Write = Callable[[Path], Any]


def image(name: str, write: Write, **options: Any) -> Make:
    """An image without a mask."""

    def make(folder: Path) -> Printed:
        write(folder / name)
        return found(check_histology(folder / name, None, HistologyOptions(**options)))

    return make


def annotation(name: str, write: Write, image_name: str = "a.png", **options: Any) -> Make:
    """A sound image with another mask."""

    def make(folder: Path) -> Printed:
        Image.fromarray(RGB).save(folder / image_name)
        write(folder / name)
        return found(check_histology(folder / image_name, folder / name, HistologyOptions(**options)))

    return make


def too_large(folder: Path) -> Printed:
    """The file is small, and its header claims 20,000 × 20,000 pixels."""
    Image.fromarray(RGB).save(folder / "a.bmp")
    content = bytearray((folder / "a.bmp").read_bytes())
    content[18:26] = (20000).to_bytes(4, "little") * 2
    (folder / "a.bmp").write_bytes(content)
    return found(check_histology(folder / "a.bmp", None, HistologyOptions()))


def tiff(pixels: np.ndarray, **how: Any) -> Write:
    return lambda path: tifffile.imwrite(path, pixels, metadata=None, **how)


def with_tag(name: str, value: int) -> Write:
    """A TIFF of strips whose header says something else."""

    def write(path: Path) -> None:
        tifffile.imwrite(path, RGB, photometric="rgb", metadata=None, rowsperstrip=2)
        with tifffile.TiffFile(path, mode="r+b") as file:
            file.pages.first.tags[name].overwrite(value)

    return write


def short_palette(path: Path) -> None:
    """A PNG of palette indices up to 200 with a palette of 3 colours."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, 8, 3, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes([0, 0, 1, 2, 200])))
    chunks = header + png_chunk(b"PLTE", bytes(9)) + pixels + png_chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def imagej_stack(path: Path) -> None:
    """ImageJ writes the pixels of all images of a large stack after one page."""
    tifffile.imwrite(path, np.zeros((6, 8), np.uint8), description="ImageJ=1.53k\nimages=3\nslices=3\n", metadata=None)


def endless_pages(path: Path) -> None:
    """The last page points to the first one."""
    tifffile.imwrite(path, RGB, photometric="rgb", metadata=None)
    with tifffile.TiffFile(path) as file:
        first = file.pages.first.offset
        entries = len(file.pages.first.tags)
    content = bytearray(path.read_bytes())
    content[first + 2 + 12 * entries : first + 6 + 12 * entries] = first.to_bytes(4, "little")
    path.write_bytes(content)


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.array([[0x0000, 0x12FF, 0xFFFF]], np.uint16)).save(path)


def of_shape(array: np.ndarray) -> np.ndarray:
    """A mask on the image's grid that repeats the array."""
    rows, columns = RGB.shape[:2]
    return np.resize(array, (rows, columns))


def opaque(folder: Path) -> Printed:
    return image("a.png", with_alpha("RGB", 255))(folder)


def palette(folder: Path) -> Printed:
    return image("a.png", lambda path: Image.fromarray(RGB).convert("P").save(path))(folder)


FAULTS: dict[str, Make] = {
    "absent": image("a.png", lambda path: None),
    "empty": image("a.png", Path.touch),
    "HTML page": image("a.png", lambda path: path.write_text("\n<!DOCTYPE html><p>Log in")),
    "unknown format": image("a.png", lambda path: Image.fromarray(RGB).save(path, format="GIF")),
    "truncated": image("a.png", half_of(".png")),
    "too large": too_large,
    "header that claims more than the file contains": image("a.png", lambda path: claiming_png(path, 13000, 13000)),
    "several pages": image("a.tif", pages),
    "ImageJ stack in one page": image("a.tif", imagej_stack),
    "pages that form a loop": image("a.tif", endless_pages),
    "three channels marked grey": image(
        "a.tif", tiff(RGB, photometric="minisblack", planarconfig="contig", rowsperstrip=2)
    ),
    "JPEG 2000 in TIFF": image("a.tif", with_tag("Compression", 34712)),
    "signed bytes in TIFF": image("a.tif", tiff(RGB[..., 0].astype(np.int8))),
    "TIFF without all its strips or tiles": image("a.tif", with_tag("ImageLength", 60)),
    "palette with too few colours": image("a.png", short_palette),
    "TIFF of a kind that is not read": image("a.tif", tiff((RGB / 255).astype(np.float32), photometric="rgb")),
    "DICOM file": image("a.png", lambda path: path.write_bytes(bytes(128) + b"DICM" + bytes(400))),
    "folder, pipe or device": image("a.png", os.mkfifo),
    "link without a target": image("a.png", lambda path: path.symlink_to("gone.png")),
    "EXIF rotation": image("a.png", rotated(RGB)),
    "opaque alpha channel": opaque,
    "transparent pixels": image("a.png", with_alpha("RGB", 200)),
    "transparent mask": annotation("a_anno.png", with_alpha("L", 9)),
    "palette": palette,
    "CMYK, floating point": image("a.tif", lambda path: Image.fromarray(RGB).convert("CMYK").save(path)),
    "16 bits per channel": image("a.png", sixteen_bits),
    "12 bits in a file of 16, grey": image(
        "a.png", lambda path: Image.fromarray(RGB[..., 0].astype(np.uint16) << 4).save(path)
    ),
    "12 bits in a file of 16, RGB": image("a.tif", tiff(RGB.astype(np.uint16) << 4, photometric="rgb")),
    "another magnification": image("a.png", lambda path: Image.fromarray(RGB).save(path), um_per_px=0.25),
    "resampling without a scale": image("a.png", lambda path: Image.fromarray(RGB).save(path), resample=True),
    "coloured mask": annotation("a_anno.png", mask(RGB)),
    "mask of floating-point numbers": annotation("a_anno.tif", mask(np.ones(RGB.shape[:2], np.float32))),
    "JPEG mask": annotation("a_anno.jpg", mask(of_shape(IDS))),
    "mask with white as 0": annotation(
        "a_anno.tif", tiff((RGB[..., 0] > 150).astype(np.uint8), photometric="miniswhite")
    ),
    "negative ids": annotation("a_anno.tif", mask(of_shape(IDS).astype(np.int32) - 1)),
    "mask 0/255, not declared": annotation("a_anno.png", mask(of_shape(IDS // 3 * 255)), num_classes=2),
    "instance ids with two classes, not declared": annotation("a_anno.png", mask(of_shape(IDS)), num_classes=2),
    "mask 0/255, declared as instances": annotation(
        "a_anno.png", mask(of_shape(IDS // 3 * 255)), label_values="instances", num_classes=2
    ),
    "mask of classes with ids beyond them": annotation(
        "a.png",
        mask(of_shape(np.array([0, 7, 26], np.uint8))),
        "image.png",
        label_values="classes",
        num_classes=19,
        ignore_id=255,
    ),
    "declared binary, but is not": annotation("a_anno.png", mask(of_shape(IDS // 3 * 127)), label_values="binary"),
    "image and mask of different sizes": annotation("a_anno.png", mask(IDS)),
}
