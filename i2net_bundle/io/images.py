"""Read 2D images and their masks: PNG, BMP, TIFF and JPEG files, through Pillow.

Pillow silently changes the meaning of some files: it drops the lower byte of 16-bit colours and ignores an orientation
tag (in a TIFF it applies it). This module reads such files correctly or refuses them.
"""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from i2net_bundle.io.claimed_size import DEFLATE_RATIO, require_stored
from i2net_bundle.io.findings import DataError, error
from i2net_bundle.io.handover import decoded
from i2net_bundle.io.pixel_size import recorded_um_per_px
from i2net_bundle.io.printable import shell_name
from i2net_bundle.io.regular_files import first_bytes, require_regular_file
from i2net_bundle.io.tiff_headers import (
    compression_ratio,
    is_tiff,
    require_sound_pages,
    require_sound_pixels,
    stack_size,
    unread_finding,
    unread_kind,
)

logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it logs what is reported as findings here

_FORMATS = ("PNG", "BMP", "TIFF", "JPEG")
_OTHER_FORMATS = ("WEBP", "JPEG2000", "GIF", "AVIF", "PPM", "PSD", "ICO", "SGI", "PCX", "DDS")
"""Formats that are not read, but are recognised so that messages can name them."""
_HTML_STARTS = (b"<!doctype html", b"<html")
_PNG_START = b"\x89PNG\r\n\x1a\n"
_WHITE_IS_ZERO = 0
_USED_BITS = (8, 10, 12, 14, 16)
_DARKEST_HIGH_BYTE = 2**14 >> 8


def open_image(path: str | Path) -> Image.Image:
    """Open and decode a file of one upright image.

    Args:
        path: PNG, BMP, TIFF or JPEG file.

    Raises:
        DataError: the file cannot be read, claims more pixels than it can store, contains several images, or asks to be
            rotated for display.
    """
    image: Image.Image = decoded(_open, _nbytes, path)
    return image


def _nbytes(image: Image.Image) -> int:
    return image.width * image.height * _pixel_bytes(image)


def _open(path: str | Path) -> Image.Image:
    start = first_bytes(path)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()  # a byte order mark and blanks precede HTML
    if not start:
        raise _fault("image-unreadable", path, "is empty", "Download or export it again.")
    if text.startswith(_HTML_STARTS):
        problem = "is an HTML page: the download failed"
        raise _fault("image-unreadable", path, problem, "Download it again, and log in first if the site asks for it.")
    if is_tiff(start):
        require_sound_pages(path, start)
        require_sound_pixels(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large slides are legitimate; damaged tags are reported if they matter
            source: str | Path | io.BytesIO = path
            if start.startswith(_PNG_START):
                source = io.BytesIO(Path(path).read_bytes())
                with Image.open(source, formats=("PNG",)) as image:
                    image.verify()  # its checksums, which reading ignores
                source.seek(0)
            with Image.open(source, formats=_FORMATS) as image:
                _require_one_image(path, image)
                _require_stored_pixels(path, image)
                image.load()
    except DataError:
        raise
    except Image.DecompressionBombError as cause:
        problem = f"has more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels, the limit for reading an image at once"
        raise _fault("image-unreadable", path, problem, "Save it as a tiled TIFF, which is read in parts.") from cause
    except Exception as cause:  # Pillow's parsers raise whatever damaged bytes lead them to
        raise _unread(path, start, cause) from cause
    return image


def _require_one_image(path: str | Path, image: Image.Image) -> None:
    pages, stacked = getattr(image, "n_frames", 1), stack_size(_description(image))
    if pages > 1:
        raise _fault("image-pages", path, f"contains {pages} pages", "Save the page you need as its own file.")
    if stacked > 1:
        problem = f"is a stack of {stacked} images or channels in one page, as ImageJ writes them"
        raise _fault("image-pages", path, problem, "Save it as one RGB image (Image > Type > RGB Color in ImageJ).")
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation in range(2, 9):
        problem = f"has EXIF orientation {orientation}, so some programs show it rotated or mirrored and others do not"
        remedy = f"Save image and mask upright: magick {shell_name(path)} -auto-orient OUT.png."
        raise _fault("image-orientation", path, problem, remedy)


def _pixel_bytes(image: Image.Image) -> int:
    depth = {"1": 1, "I": 4, "F": 4}.get(image.mode, 2 if is_16_bit_grey(image) else 1)
    return len(image.getbands()) * depth


def _require_stored_pixels(path: str | Path, image: Image.Image) -> None:
    claimed = image.width * image.height * _pixel_bytes(image)
    ratio: float = DEFLATE_RATIO
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        ratio = 8 * compression_ratio(int(image.tag_v2.get(TiffImagePlugin.COMPRESSION, 1)))  # bits become bytes
    require_stored(path, claimed, require_regular_file(path), ratio)


def _unread(path: str | Path, start: bytes, cause: Exception) -> DataError:
    """Name the kind of an intact file that is not read; otherwise report the damage."""
    export = "Export it as RGB with 8 bits per channel, as PNG."
    if start[128:132] == b"DICM":
        return _fault("image-format", path, "is a DICOM file, not a PNG, BMP, TIFF or JPEG image", export)
    if is_tiff(start):
        kind = unread_kind(path)
        if kind is not None:
            return DataError([unread_finding(path, kind)])
    try:
        with Image.open(path, formats=_OTHER_FORMATS) as other:
            problem = f"is a {other.format} image, but only PNG, BMP, TIFF and JPEG are read"
            return _fault("image-format", path, problem, export)
    except Exception:  # not one of these formats either
        pass
    if isinstance(cause, UnidentifiedImageError):
        problem = "is not a PNG, BMP, TIFF or JPEG image, or its header is damaged"
        return _fault("image-unreadable", path, problem, "Download it again, or export it as PNG.")
    return _fault("image-unreadable", path, f"is truncated or damaged ({cause})", "Download or export it again.")


def image_um_per_px(image: Image.Image) -> float | None:
    """Return the micrometres per pixel that an image's file records, or None; see `recorded_um_per_px`.

    Args:
        image: from `open_image`.
    """
    dpi = [float(value) for value in image.info.get("dpi", ())]
    return recorded_um_per_px(dpi, _description(image), [float(side) for side in image.info.get("resolution", ())])


def _description(image: Image.Image) -> str:
    """A TIFF's ImageDescription; Pillow decodes text as Latin-1, while OME and Fiji write UTF-8."""
    tags = getattr(image, "tag_v2", {})
    text = str(tags.get(TiffImagePlugin.IMAGEDESCRIPTION, ""))
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def rgb_array(image: Image.Image, bits: int) -> np.ndarray:
    """Convert an image to RGB (H, W, 3), uint8.

    Args:
        image: from `open_image`.
        bits: bits per channel that its values use, see `used_bits`.
    """
    if is_16_bit_grey(image):
        grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)  # the high byte, as Pillow does for 16-bit colours
        if stores_white_as_zero(image):
            grey = 255 - grey  # Pillow inverts 8-bit images itself
        return np.stack([grey] * 3, axis=-1)
    if image.has_transparency_data:
        image = image.convert("RGBA")  # Pillow warns about palettes with transparency otherwise
    return np.array(image.convert("RGB"))


def stores_white_as_zero(image: Image.Image) -> bool:
    """Whether a TIFF has the photometric interpretation MinIsWhite."""
    tags = getattr(image, "tag_v2", {})
    return bool(tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 1) == _WHITE_IS_ZERO)


def used_bits(path: str | Path, image: Image.Image) -> int:
    """Return the bits per channel that the values of an image use; cameras store 12 bits in files of 16."""
    bits = bits_per_channel(path, image)
    if bits != 16:
        return bits
    if is_16_bit_grey(image):
        highest = int(np.asarray(image).max())
        return next(count for count in _USED_BITS if highest < 2**count)
    highest = int(np.asarray(image.convert("RGB")).max())  # of the high bytes: Pillow drops the low ones
    return 16 if highest >= _DARKEST_HIGH_BYTE else 14


def mask_array(path: str | Path, image: Image.Image) -> np.ndarray:
    """Return a mask's stored values (H, W): palette indices as they are, 2- and 4-bit values not stretched to 0-255."""
    stored = np.asarray(image.getchannel(0) if image.mode == "LA" else image).astype(np.int32)
    bits = bits_per_channel(path, image)
    return stored // (255 // (2**bits - 1)) if image.mode == "L" and bits < 8 else stored


def bits_per_channel(path: str | Path, image: Image.Image) -> int:
    """Return the file's bits per channel; ``image.mode`` only describes the decoded image."""
    if image.format == "PNG":
        with open(path, "rb") as file:
            return file.read(25)[24]  # signature 8, chunk's length and name 8, width and height 8, bit depth
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))))
    return 8


def is_16_bit_grey(image: Image.Image) -> bool:
    """Whether an image has one channel of 16 bits."""
    return image.mode.startswith("I;16")


def _fault(rule: str, path: str | Path, problem: str, remedy: str) -> DataError:
    return DataError([error(rule, path, problem, remedy)])
