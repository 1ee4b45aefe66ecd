"""Read 2D images and their masks: PNG, BMP, TIFF and JPEG files, through Pillow.

Pillow silently changes the meaning of some files: it drops the lower byte of 16-bit colours and ignores an orientation
tag (in a TIFF it applies it). This module reads such files correctly or refuses them.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from i2net_bundle.io.findings import DataError, error
from i2net_bundle.io.pixel_size import recorded_um_per_px

_FORMATS = ("PNG", "BMP", "TIFF", "JPEG")
_HTML_STARTS = (b"<!doctype html", b"<html")


def open_image(path: str | Path) -> Image.Image:
    """Open and decode a file of one upright image.

    Args:
        path: PNG, BMP, TIFF or JPEG file.

    Raises:
        DataError: the file cannot be read, holds several pages, or asks to be rotated for display.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()  # a byte order mark and blanks precede HTML
    except OSError as cause:
        remedy = "Correct the path, or the file's permissions."
        raise _fault("image-unreadable", path, f"cannot be opened ({cause.strerror})", remedy) from cause
    if not start:
        raise _fault("image-unreadable", path, "is empty", "Download or export it again.")
    if start.startswith(_HTML_STARTS):
        problem = "is an HTML page: the download failed"
        raise _fault("image-unreadable", path, problem, "Download it again, and log in first if the site asks for it.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large slides are legitimate
            with Image.open(path, formats=_FORMATS) as image:
                pages = getattr(image, "n_frames", 1)
                orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
                image.load()
    except Image.DecompressionBombError as cause:
        problem = f"has more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels, the most that is read at once"
        raise _fault("image-unreadable", path, problem, "Save it as a tiled TIFF, which is read in parts.") from cause
    except UnidentifiedImageError as cause:
        problem = "is not a PNG, BMP, TIFF or JPEG image, or its header is damaged"
        raise _fault("image-unreadable", path, problem, "Download it again, or export it as PNG.") from cause
    except Exception as cause:  # Pillow's parsers raise whatever damaged bytes lead them to
        remedy = "Download or export it again."
        raise _fault("image-unreadable", path, f"is truncated or damaged ({cause})", remedy) from cause
    if pages > 1:
        raise _fault("image-pages", path, f"holds {pages} pages", "Save the page you need as its own file.")
    if orientation in range(2, 9):
        problem = f"has EXIF orientation {orientation}, so some programs show it rotated or mirrored and others do not"
        remedy = f"Save image and mask upright: magick '{path}' -auto-orient OUT.png."
        raise _fault("image-orientation", path, problem, remedy)
    return image


def image_um_per_px(image: Image.Image) -> float | None:
    """Return the micrometres per pixel that an image's file records, or None; see `recorded_um_per_px`.

    Args:
        image: from `open_image`.
    """
    dpi = [float(value) for value in image.info.get("dpi", ())]
    description = image.tag_v2.get(TiffImagePlugin.IMAGEDESCRIPTION, "") if hasattr(image, "tag_v2") else ""
    return recorded_um_per_px(dpi, str(description))


def rgb_array(image: Image.Image, bits: int) -> np.ndarray:
    """Convert an image with ``bits`` per channel to RGB (H, W, 3), uint8."""
    if is_16_bit_grey(image):
        grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)  # the high byte, as Pillow does for 16-bit colours
        return np.stack([grey] * 3, axis=-1)
    if image.has_transparency_data:
        image = image.convert("RGBA")  # Pillow warns about palettes with transparency otherwise
    return np.array(image.convert("RGB"))


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
