"""Reading and checking histology images and gland masks: PNG, BMP, TIFF and JPEG files, through Pillow.

Pillow opens many files in a way that changes their meaning without a word: 16-bit colours lose their lower byte, an
orientation tag is ignored (or, in a TIFF, applied), palettes and transparency need care. Here each such file is read
as what it means, or refused.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from i2net_bundle.checks.findings import DataError, Finding, enforce, error, errors, warning
from i2net_bundle.checks.pixel_size import recorded_um_per_px

TRAINING_UM_PER_PX = 0.62005
"""Micrometres per pixel of the GlaS images (Sirinukunwattana et al. 2017), on which the histology networks train."""

_FORMATS = ("PNG", "BMP", "TIFF", "JPEG")
_IMAGE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_MASK_MODES = ("1", "L", "LA", "P", "I")
_LABEL_VALUES = ("instances", "binary", "classes")
_MAGNIFICATION_TOLERANCE = 0.15
_HTML_STARTS = (b"<!doctype html", b"<html")


@dataclass(frozen=True)
class HistologyOptions:
    """What the user declares about histology files.

    Attributes:
        um_per_px: micrometres per pixel, instead of what the files say.
        resample: whether the images are resized to the training scale, so that another scale is no fault.
        label_values: "instances" for masks of ids 0, 1, …, n; "binary" for masks of 0 and 255, or of 0 and 1;
            "classes" for masks of class ids, 255 being ignored.
        num_classes: with "classes", how many there are; other ids are refused.

    Raises:
        ValueError: a value is out of range.
    """

    um_per_px: float | None = None
    resample: bool = False
    label_values: str = "instances"
    num_classes: int | None = None

    def __post_init__(self) -> None:
        if self.um_per_px is not None and not 0 < self.um_per_px < math.inf:
            raise ValueError(f"um_per_px is {self.um_per_px}; pass a number of micrometres above 0.")
        if self.label_values not in _LABEL_VALUES:
            raise ValueError(f"label_values is '{self.label_values}'; pass one of: {', '.join(_LABEL_VALUES)}.")


def load_image(path: str | Path, options: HistologyOptions) -> tuple[np.ndarray, list[Finding]]:
    """Read an image as 8-bit RGB, at the file's own size.

    Args:
        path: PNG, BMP, TIFF or JPEG file.
        options: what the user declares about it.

    Returns:
        (H, W, 3) uint8, and the warnings.

    Raises:
        DataError: the file cannot be read, or not without guessing what it means.
    """
    image = open_image(path)
    findings = _image_findings(path, image, options)
    enforce(errors(findings))
    return _rgb_array(image, _bits_per_channel(path, image)), findings


def load_mask(path: str | Path, options: HistologyOptions) -> tuple[np.ndarray, list[Finding]]:
    """Read a mask's ids; a binary mask becomes 0 and 1.

    Args:
        path: PNG, BMP or TIFF file.
        options: what the user declares about it.

    Returns:
        (H, W) int32, and the warnings.

    Raises:
        DataError: the file cannot be read, or its values are not what ``options.label_values`` declares.
    """
    image = open_image(path)
    findings = _mask_findings(path, image, options)
    enforce(errors(findings))
    ids = _mask_array(path, image)
    return (ids > 0).astype(np.int32) if options.label_values == "binary" else ids, findings


def check_histology(image_path: str | Path, label_path: str | Path | None, options: HistologyOptions) -> list[Finding]:
    """Find every fault of an image and its mask; none is raised.

    Args:
        image_path: PNG, BMP, TIFF or JPEG file.
        label_path: the image's mask, if it has one.
        options: what the user declares about them.
    """
    findings: list[Finding] = []
    sizes: list[tuple[int, int]] = []
    for path, check in ((image_path, _image_findings), (label_path, _mask_findings)):
        if path is None:
            continue
        try:
            image = open_image(path)
        except DataError as fault:
            findings += fault.findings
        else:
            findings += check(path, image, options)
            sizes.append(image.size)
    if label_path is not None and len(sizes) == 2:
        findings += pair_findings(image_path, sizes[0], label_path, sizes[1])
    return findings


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
        problem = "is no PNG, BMP, TIFF or JPEG image, or its header is damaged"
        raise _fault("image-unreadable", path, problem, "Download it again, or export it as PNG.") from cause
    except Exception as cause:  # Pillow's parsers raise whatever damaged bytes lead them to
        remedy = "Download or export it again."
        raise _fault("image-unreadable", path, f"is truncated or damaged ({cause})", remedy) from cause
    if pages > 1:
        raise _fault("image-pages", path, f"holds {pages} pages", "Save the page that is meant as a file of its own.")
    if orientation in range(2, 9):
        problem = f"has EXIF orientation {orientation}, so some programs show it rotated or mirrored and others do not"
        remedy = f"Save image and mask upright: magick '{path}' -auto-orient OUT.png."
        raise _fault("image-orientation", path, problem, remedy)
    return image


def image_um_per_px(image: Image.Image) -> float | None:
    """Micrometres per pixel that an image's file records, None where it does not; see `recorded_um_per_px`.

    Args:
        image: as opened.
    """
    dpi = [float(value) for value in image.info.get("dpi", ())]
    description = image.tag_v2.get(TiffImagePlugin.IMAGEDESCRIPTION, "") if hasattr(image, "tag_v2") else ""
    return recorded_um_per_px(dpi, str(description))


def scale_to_training(path: str | Path, options: HistologyOptions) -> float:
    """By how much an image is to be magnified to reach the training scale: 1 unless ``options.resample`` is on.

    Args:
        path: a file that `load_image` reads.
        options: what the user declares about it.
    """
    if not options.resample:
        return 1.0
    um_per_px = options.um_per_px or image_um_per_px(open_image(path))
    assert um_per_px is not None  # else the image was refused
    return um_per_px / TRAINING_UM_PER_PX


def pair_findings(
    image_path: str | Path, image_size: tuple[int, int], label_path: str | Path, label_size: tuple[int, int]
) -> list[Finding]:
    """Compare the size of an image with that of its mask.

    Args:
        image_path: for the message.
        image_size: (width, height) in pixels.
        label_path: for the message.
        label_size: (width, height) in pixels.
    """
    if image_size == label_size:
        return []
    problem = (
        f"is {label_size[0]} × {label_size[1]} pixels, its image {image_path} is {image_size[0]} × {image_size[1]}"
    )
    return [error("mask-size", label_path, problem, "Export both at one size; a mask covers its image pixel by pixel.")]


def _image_findings(path: str | Path, image: Image.Image, options: HistologyOptions) -> list[Finding]:
    findings = magnification_findings(path, image_um_per_px(image), options)
    if image.mode not in _IMAGE_MODES and not _is_16_bit_grey(image):
        problem = f"holds pixels of kind {image.mode}, where grey, palette or RGB is expected"
        findings.append(error("image-mode", path, problem, "Export it as RGB with 8 bits per channel."))
    elif _bits_per_channel(path, image) > 8:
        problem = f"has {_bits_per_channel(path, image)} bits per channel, of which the highest 8 are used"
        remedy = "If it looks dark, stretch it to the full range and export it with 8 bits per channel."
        findings.append(warning("image-bits", path, problem, remedy))
    flatten = f"Flatten it onto its background: magick '{path}' -background white -flatten OUT.png."
    return findings + _alpha_findings(path, image, flatten)


def _mask_findings(path: str | Path, image: Image.Image, options: HistologyOptions) -> list[Finding]:
    one_channel = "Save one whole number per pixel: a single-channel PNG of 8 or 16 bits."
    if image.format == "JPEG":
        return [error("mask-mode", path, "is a JPEG file, whose compression changes the ids", one_channel)]
    if image.mode == "F":
        return [error("mask-mode", path, "holds floating-point numbers, and ids are whole numbers", one_channel)]
    if image.mode not in _MASK_MODES and not _is_16_bit_grey(image):
        return [error("mask-mode", path, f"holds colours ({image.mode}), not ids", one_channel)]
    values = np.unique(_mask_array(path, image)).tolist()
    findings = _value_findings(path, values, options)
    # a palette's transparent colour only tells how to paint an index
    return findings + (_alpha_findings(path, image, one_channel) if image.mode == "LA" else [])


def _value_findings(path: str | Path, values: Sequence[int], options: HistologyOptions) -> list[Finding]:
    label_values = options.label_values
    held = f"holds {', '.join(map(str, values[:8]))}" + (f", … ({len(values)} values)" if len(values) > 8 else "")
    if label_values == "binary":
        if set(values) <= {0, 255} or set(values) <= {0, 1}:
            return []
        remedy = "Declare ids with label_values: instances / --label-values instances, or correct the mask."
        return [error("mask-values", path, f"{held}, but a binary mask has 0 and 255, or 0 and 1", remedy)]
    if values[0] < 0:
        return [error("mask-values", path, f"{held}, but ids start at 0", "Save it as unsigned whole numbers.")]
    count = options.num_classes
    if label_values == "classes" and count is not None and not set(values) <= {*range(count), 255}:
        classes = f"the classes are 0 to {count - 1}, and 255"
        remedy = "Map the ids to the declared classes first: `i2net prepare` does it for declared numberings."
        return [error("mask-values", path, f"{held}, but {classes}", remedy)]
    if label_values == "instances" and 255 in values and set(values) <= {0, 255}:
        remedy = "Declare it with label_values: binary / --label-values binary."
        return [error("mask-values", path, f"{held} only and looks binary, where ids 0, 1, …, n are declared", remedy)]
    return []


def _alpha_findings(path: str | Path, image: Image.Image, remedy: str) -> list[Finding]:
    """Opaque everywhere, an alpha channel says nothing; else the colours beneath depend on who shows them."""
    if not image.has_transparency_data or _is_16_bit_grey(image):
        return []
    lowest = image.convert("RGBA").getchannel("A").getextrema()[0]
    if lowest == 255:
        return []
    return [error("image-alpha", path, f"has transparent pixels (alpha down to {lowest} of 255)", remedy)]


def magnification_findings(path: str | Path, um_per_px: float | None, options: HistologyOptions) -> list[Finding]:
    """Is an image at the scale that the network was trained at?

    Args:
        path: for the message.
        um_per_px: micrometres per pixel that the file records.
        options: what the user declares about it.
    """
    um_per_px = options.um_per_px or um_per_px
    if um_per_px is None and options.resample:
        problem = "does not say how many µm its pixels measure, and resampling was asked for"
        remedy = "Pass um_per_px / --um-per-px, or leave resample off."
        return [error("image-magnification", path, problem, remedy)]
    if um_per_px is None or options.resample or abs(um_per_px / TRAINING_UM_PER_PX - 1) <= _MAGNIFICATION_TOLERANCE:
        return []
    problem = f"has {um_per_px:.4g} µm per pixel, and the network was trained at {TRAINING_UM_PER_PX}"
    remedy = "Have it resized with resample: true, or correct um_per_px / --um-per-px."
    return [warning("image-magnification", path, problem, remedy)]


def _rgb_array(image: Image.Image, bits: int) -> np.ndarray:
    if _is_16_bit_grey(image):
        grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)  # the high byte, as Pillow does for 16-bit colours
        return np.stack([grey] * 3, axis=-1)
    if image.has_transparency_data:
        image = image.convert("RGBA")  # else Pillow warns of palettes with transparency
    return np.array(image.convert("RGB"))


def _mask_array(path: str | Path, image: Image.Image) -> np.ndarray:
    """The numbers as stored: indices of a palette, and 2- or 4-bit values without Pillow's stretch to 0-255."""
    stored = np.asarray(image.getchannel(0) if image.mode == "LA" else image).astype(np.int32)
    bits = _bits_per_channel(path, image)
    return stored // (255 // (2**bits - 1)) if image.mode == "L" and bits < 8 else stored


def _bits_per_channel(path: str | Path, image: Image.Image) -> int:
    """As stored, where ``image.mode`` tells what Pillow made of them."""
    if image.format == "PNG":
        with open(path, "rb") as file:
            return file.read(25)[24]  # signature 8, chunk's length and name 8, width and height 8, bit depth
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))))
    return 8


def _is_16_bit_grey(image: Image.Image) -> bool:
    return image.mode.startswith("I;16")


def _fault(rule: str, path: str | Path, problem: str, remedy: str) -> DataError:
    return DataError([error(rule, path, problem, remedy)])
