"""Check histology images and their masks: magnification, transparency, bit depth, mask values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from i2net_bundle.checks.empty_labels import empty_label_findings
from i2net_bundle.io.findings import DataError, Finding, enforce, error, errors, warning
from i2net_bundle.io.images import (
    bits_per_channel,
    image_um_per_px,
    is_16_bit_grey,
    mask_array,
    open_image,
    rgb_array,
    stores_white_as_zero,
    used_bits,
)
from i2net_bundle.io.options import HistologyOptions
from i2net_bundle.io.printable import shell_name

TRAINING_UM_PER_PX = 0.62005
"""Micrometres per pixel of the GlaS images (Sirinukunwattana et al. 2017), on which the histology networks train."""

_IMAGE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_MASK_MODES = ("1", "L", "LA", "P", "I")
_MAGNIFICATION_TOLERANCE = 0.15
_DECLARE = 'Declare what the masks contain ("label_values" in dataset.json, --label-values of i2net):'


def load_image(path: str | Path, options: HistologyOptions) -> tuple[np.ndarray, list[Finding]]:
    """Read an image as 8-bit RGB at its stored size.

    Args:
        path: PNG, BMP, TIFF or JPEG file.
        options: what the user declares about it.

    Returns:
        the image (H, W, 3), uint8, and the warnings.

    Raises:
        DataError: the file cannot be read, or is ambiguous.
    """
    image = open_image(path)
    findings = _image_findings(path, image, options)
    enforce(errors(findings))
    return rgb_array(image, used_bits(path, image)), findings


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
    ids = mask_array(path, image)
    return (ids > 0).astype(np.int32) if options.label_values == "binary" else ids, findings


def check_histology(image_path: str | Path, label_path: str | Path | None, options: HistologyOptions) -> list[Finding]:
    """Find every fault of an image and its mask; faults are returned, not raised.

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
            found = check(path, image, options)
            sizes.append(image.size)
            if path == label_path and not errors(found):
                found = found + empty_label_findings(path, not np.asarray(image.getchannel(0)).any())
            findings += found
    if label_path is not None and len(sizes) == 2:
        findings += pair_findings(image_path, sizes[0], label_path, sizes[1])
    return findings


def scale_to_training(path: str | Path, options: HistologyOptions) -> float:
    """Return the magnification that brings an image to the training scale: 1 unless ``options.resample`` is on.

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
    damaged = _palette_findings(path, image)
    if damaged:
        return damaged
    findings = magnification_findings(path, image_um_per_px(image), options)
    if image.mode not in _IMAGE_MODES and not is_16_bit_grey(image):
        problem = f"has pixels of mode {image.mode}, but grey, palette or RGB is expected"
        findings.append(error("image-mode", path, problem, "Export it as RGB with 8 bits per channel."))
    elif bits_per_channel(path, image) > 8:
        findings.append(_depth_finding(path, image))
    flatten = f"Flatten it onto a background: magick {shell_name(path)} -background white -flatten OUT.png."
    return findings + _alpha_findings(path, image, flatten)


def _palette_findings(path: str | Path, image: Image.Image) -> list[Finding]:
    """Refuse indices beyond the palette: they have no colour, and Pillow shows them black."""
    if image.mode != "P":
        return []
    colours, needed = len(image.getpalette() or []) // 3, int(np.asarray(image).max()) + 1
    if needed <= colours:
        return []
    problem = f"is damaged: its palette has {colours} colours, and its pixels need {needed}"
    return [error("image-unreadable", path, problem, "Download or export it again.")]


def _depth_finding(path: str | Path, image: Image.Image) -> Finding:
    """Report more than 8 bits per channel; colours lose their low byte on reading, so dark ones are refused."""
    bits, used = bits_per_channel(path, image), used_bits(path, image)
    stretch = "stretch it to the full range and export it with 8 bits per channel"
    if used == bits:
        problem = f"has {bits} bits per channel, of which the highest 8 are used"
        return warning("image-bits", path, problem, f"If it looks dark, {stretch}.")
    if is_16_bit_grey(image):
        problem = f"has {bits} bits per channel, but its values need only {used}, of which the highest 8 are used"
        return warning("image-bits", path, problem, f"If it looks too bright, {stretch}.")
    problem = f"has {bits} bits per channel, and its values fit {used} or fewer: it would be nearly black"
    return error("image-bits", path, problem, f"{stretch.capitalize()}.")


def _mask_findings(path: str | Path, image: Image.Image, options: HistologyOptions) -> list[Finding]:
    one_channel = "Save one whole number per pixel: a single-channel PNG of 8 or 16 bits."
    if image.format == "JPEG":
        return [error("mask-mode", path, "is a JPEG file, whose compression changes the ids", one_channel)]
    if image.mode == "F":
        return [error("mask-mode", path, "contains floating-point numbers, but ids must be whole numbers", one_channel)]
    if image.mode not in _MASK_MODES and not is_16_bit_grey(image):
        return [error("mask-mode", path, f"contains colours ({image.mode}), not ids", one_channel)]
    if stores_white_as_zero(image):
        problem = "stores white as 0 (MinIsWhite), so programs disagree about its values"
        return [error("mask-mode", path, problem, "Save it with black as 0, for example as PNG.")]
    values = np.unique(mask_array(path, image)).tolist()
    findings = _value_findings(path, values, options)
    # a palette's transparent colour only affects display
    return findings + (_alpha_findings(path, image, one_channel) if image.mode == "LA" else [])


def _value_findings(path: str | Path, values: Sequence[int], options: HistologyOptions) -> list[Finding]:
    held = f"contains {', '.join(map(str, values[:8]))}" + (f", … ({len(values)} values)" if len(values) > 8 else "")
    looks_binary = 255 in values and set(values) <= {0, 255}
    if options.label_values == "binary":
        if set(values) <= {0, 255} or set(values) <= {0, 1}:
            return []
        remedy = "Declare ids with label_values: instances / --label-values instances, or correct the mask."
        return [error("mask-values", path, f"{held}, but a binary mask has 0 and 255, or 0 and 1", remedy)]
    if values[0] < 0:
        return [error("mask-values", path, f"{held}, but ids start at 0", "Save it as unsigned whole numbers.")]
    if options.label_values == "instances":
        if not looks_binary:
            return []
        remedy = "Declare it with label_values: binary / --label-values binary."
        return [error("mask-values", path, f"{held} only and looks binary, but ids 0, 1, …, n are declared", remedy)]
    return _class_findings(path, values, held, looks_binary, options)


def _class_findings(
    path: str | Path, values: Sequence[int], held: str, looks_binary: bool, options: HistologyOptions
) -> list[Finding]:
    """Check a mask that is declared to contain class ids, or is undeclared."""
    count, ignored = options.num_classes, options.ignore_id
    declared = options.label_values is not None
    if count is None and (declared or not looks_binary):
        return []
    if count is not None and set(values) <= {*range(count), ignored}:
        return []
    if not declared and looks_binary:
        classes = "" if count in (None, 2) else f", and there are {count} classes"
        problem = f"{held} only and looks binary, but is not declared as binary{classes}"
        remedy = f"{_DECLARE} binary if 255 is class 1, or renumber the mask to class ids."
        return [error("mask-values", path, problem, remedy)]
    assert count is not None
    classes = f"the classes are 0 to {count - 1}" + ("" if ignored is None else f", and {ignored} is ignored")
    if not declared and count == 2:
        remedy = (
            f"{_DECLARE} instances if every id is one object, or binary if it contains 0 and 255. If there are more "
            "classes, name them in the labels of the data list."
        )
        return [error("mask-values", path, f"{held}, but {classes}, and nothing else is declared", remedy)]
    remedy = (
        "Correct the labels of the data list, or renumber the mask; `i2net prepare` does it for declared numberings."
    )
    return [error("mask-values", path, f"{held}, but {classes}", remedy)]


def _alpha_findings(path: str | Path, image: Image.Image, remedy: str) -> list[Finding]:
    """Refuse transparent pixels: their colour depends on the viewer. A fully opaque alpha channel is ignored."""
    if not image.has_transparency_data or is_16_bit_grey(image):
        return []
    lowest = image.convert("RGBA").getchannel("A").getextrema()[0]
    if lowest == 255:
        return []
    return [error("image-alpha", path, f"has transparent pixels (alpha down to {lowest} of 255)", remedy)]


def magnification_findings(path: str | Path, um_per_px: float | None, options: HistologyOptions) -> list[Finding]:
    """Compare an image's scale with the scale of the training images.

    Args:
        path: for the message.
        um_per_px: micrometres per pixel that the file records.
        options: what the user declares about it.
    """
    um_per_px = options.um_per_px or um_per_px
    if um_per_px is None and options.resample:
        problem = "does not record its µm per pixel, and resampling was requested"
        remedy = "Pass um_per_px / --um-per-px, or leave resample off."
        return [error("image-magnification", path, problem, remedy)]
    if um_per_px is None or options.resample or abs(um_per_px / TRAINING_UM_PER_PX - 1) <= _MAGNIFICATION_TOLERANCE:
        return []
    problem = f"has {um_per_px:.4g} µm per pixel, and the network was trained at {TRAINING_UM_PER_PX}"
    remedy = "Resize it with resample: true, or correct um_per_px / --um-per-px."
    return [warning("image-magnification", path, problem, remedy)]
