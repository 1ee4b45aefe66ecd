"""Check a TIFF's headers before any pixel is read: its chain of pages, stacks in one page, and kinds of pixels.

The chain and its tags follow TIFF 6.0 (Adobe 1992) and BigTIFF.
"""

from __future__ import annotations

import logging
import math
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import tifffile

from i2net_bundle.io.findings import DataError, Finding, error

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it logs what is reported as findings here

_SIGNATURES = {
    b"II*\0": ("<", 8, 4, "I", "H", 12),
    b"MM\0*": (">", 8, 4, "I", "H", 12),
    b"II+\0": ("<", 16, 8, "Q", "Q", 20),
    b"MM\0+": (">", 16, 8, "Q", "Q", 20),
}
"""Byte order, header bytes, position of the first page's offset, types of an offset and a count, bytes of a tag."""
_RATIOS = {1: 1.0, 5: 1400.0, 7: 1032.0, 8: 1032.0, 32773: 128.0, 32946: 1032.0}
"""Largest compression of each Compression tag: none, LZW, JPEG, deflate, PackBits, deflate."""
_UNKNOWN_RATIO = 40_000.0
_CHANNELS = {"MINISWHITE": 1, "MINISBLACK": 1, "PALETTE": 1, "RGB": 3, "YCBCR": 3}
"""Channels of the kinds of 8-bit pixels that are read."""
_PLANES = 2
_ALPHA = {1, 2}
"""Values of the tag ExtraSamples: premultiplied and plain alpha."""
_IMAGEJ_IMAGES = re.compile(r"^images=(\d{1,9})\s*$", re.MULTILINE)

_Found = TypeVar("_Found")


def is_tiff(start: bytes) -> bool:
    """Whether a file's first bytes are those of a TIFF."""
    return start[:4] in _SIGNATURES


def require_sound_pages(path: str | Path, start: bytes) -> None:
    """Follow the chain of pages to its end.

    Args:
        path: the file.
        start: its first bytes.

    Raises:
        DataError: the chain loops, which readers follow for ever, or leaves the file.
    """
    seen: set[int] = set()
    try:
        for offset in _page_offsets(Path(path), start):
            if offset in seen:
                problem = f"is damaged: after {len(seen)} pages, its chain of pages leads back to an earlier one"
                raise _damaged(path, problem)
            seen.add(offset)
    except (struct.error, OSError, OverflowError) as cause:
        raise _damaged(path, "is truncated or damaged: its chain of pages leaves the file") from cause


def _page_offsets(path: Path, start: bytes) -> Iterator[int]:
    order, header_bytes, position, offset_type, count_type, tag_bytes = _SIGNATURES[start[:4]]
    offset_bytes = struct.calcsize(offset_type)
    with path.open("rb") as file:
        header = file.read(header_bytes)
        (offset,) = struct.unpack(order + offset_type, header[position : position + offset_bytes])
        while offset:
            yield offset
            file.seek(offset)
            (count,) = struct.unpack(order + count_type, file.read(struct.calcsize(count_type)))
            file.seek(count * tag_bytes, 1)
            (offset,) = struct.unpack(order + offset_type, file.read(offset_bytes))


def compression_ratio(compression: int) -> float:
    """Return the largest compression that a value of the tag Compression can reach."""
    return _RATIOS.get(compression, _UNKNOWN_RATIO)


def stack_size(description: str) -> int:
    r"""Return the number of images that ImageJ records in a page's description; large stacks have a single page.

    >>> stack_size("ImageJ=1.54f\nimages=3\nchannels=3\n"), stack_size("")
    (3, 1)
    """
    found = _IMAGEJ_IMAGES.search(description) if description.startswith("ImageJ=") else None
    return int(found[1]) if found else 1


def require_sound_pixels(path: str | Path) -> None:
    """Refuse pixels of the first page that Pillow reads wrongly without an error.

    A header that the parser cannot read passes, since Pillow reports it.

    Raises:
        DataError: the header lists fewer strips or tiles than its size needs, or the pixels are of a kind that is not
            read.
    """
    _first_page(path, lambda page: _require_all_segments(path, page))
    misread = _first_page(path, lambda page: _kind(page) if _is_misread(page) else None)
    if misread is not None:
        raise DataError([unread_finding(path, misread)])


def unread_kind(path: str | Path) -> str | None:
    """Describe the pixels of the first page if they are of a kind that is not read.

    Returns:
        such as "32-bit floating-point RGB pixels with 3 channels, compressed by JPEG2000"; None for pixels that are
        read, and for a damaged header.
    """
    return _first_page(path, lambda page: None if _is_read(page) else _kind(page))


def unread_finding(path: str | Path, kind: str) -> Finding:
    """Report pixels of a kind that is not read."""
    remedy = "Export it as RGB with 8 bits per channel, as PNG."
    return error("image-format", path, f"is a TIFF of {kind}, which is not read", remedy)


def _first_page(path: str | Path, look: Callable[[tifffile.TiffPage], _Found]) -> _Found | None:
    """Look at the first page; None if its header is damaged."""
    try:
        with tifffile.TiffFile(path) as tiff:
            return look(tiff.pages.first)
    except DataError:
        raise
    except Exception:  # the parser raises whatever damaged bytes lead it to
        return None


def _require_all_segments(path: str | Path, page: tifffile.TiffPage) -> None:
    listed, needed = len(page.dataoffsets), math.prod(page.chunked)
    if listed < needed:
        raise _damaged(path, f"is damaged: its header lists {listed} of {needed} strips or tiles")


def _is_read(page: tifffile.TiffPage) -> bool:
    kind = getattr(page.photometric, "name", "")
    return (
        page.dtype == "uint8" and int(page.compression) in _RATIOS and _CHANNELS.get(kind) == page.samplesperpixel
    ) and not _is_misread(page)


def _is_misread(page: tifffile.TiffPage) -> bool:
    """Whether Pillow takes signed for unsigned numbers, planes of 16 bits or of depth for others, or a channel."""
    is_signed_byte = page.dtype == "int8"
    has_planes = page.imagedepth > 1 or (
        page.planarconfig == _PLANES and page.samplesperpixel > 1 and page.bitspersample != 8
    )
    has_second_channel = page.samplesperpixel == 2 and not set(map(int, page.extrasamples)) & _ALPHA
    return is_signed_byte or has_planes or has_second_channel


def _kind(page: tifffile.TiffPage) -> str:
    photometric = getattr(page.photometric, "name", "unknown")
    compression = getattr(page.compression, "name", str(page.compression))
    described = f"{page.bitspersample}-bit {_number_kind(page)} {photometric} pixels with {page.samplesperpixel}"
    channels = "channel" if page.samplesperpixel == 1 else "channels"
    planes = " in separate planes" if page.planarconfig == _PLANES and page.samplesperpixel > 1 else ""
    depth = f" and {page.imagedepth} slices" if page.imagedepth > 1 else ""
    packed = "" if compression == "NONE" else f", compressed by {compression}"
    return f"{described} {channels}{planes}{depth}{packed}"


def _number_kind(page: tifffile.TiffPage) -> str:
    return {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}.get(
        int(page.sampleformat or 1), "undefined"
    )


def _damaged(path: str | Path, problem: str) -> DataError:
    return DataError([error("image-unreadable", path, problem, "Download or export it again.")])
