"""Small histology images and masks, sound and faulty."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
IDS = np.array([[0, 0, 1, 1], [2, 2, 0, 3]], np.uint8)

Write = Callable[[Path], Any]


def write_png(path: Path, rows: list[bytes], width: int, bits: int, colour_type: int) -> None:
    """Save a PNG of any bit depth, which Pillow cannot; ``rows`` are its packed samples."""

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
