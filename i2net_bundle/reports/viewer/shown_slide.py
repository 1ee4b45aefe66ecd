"""A 2D image and the outlines of its mask in the size and form that a page can hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from i2net_bundle.checks.histology import load_image
from i2net_bundle.io.images import image_um_per_px, open_image
from i2net_bundle.io.options import HistologyOptions
from i2net_bundle.io.tiff import TiledTiff, is_tiled_tiff
from i2net_bundle.metrics.pixel_runs import PixelRuns
from i2net_bundle.prediction.polygons import polygons
from i2net_bundle.prediction.tiles import thumbnail, thumbnail_step
from i2net_bundle.reports.embedding import as_webp

LONGEST_SIDE = 4096
_QUALITY = 85


@dataclass(frozen=True)
class ShownSlide:
    """What the page shows of a 2D image.

    Attributes:
        picture: WebP.
        size: rows and columns of the picture.
        paths: by class index, the outlines of its pixels as an SVG path in pixels of the picture.
        step: pixels of the file per pixel of the picture.
        um_per_px: micrometres per pixel that the user declared or the file records, if any.
        notes: sentences that say how the picture differs from the file.
    """

    picture: bytes
    size: tuple[int, int]
    paths: dict[int, str] = field(default_factory=dict)
    step: int = 1
    um_per_px: float | None = None
    notes: tuple[str, ...] = ()


def show_slide(path: Path, mask: np.ndarray, options: HistologyOptions, longest: int = LONGEST_SIDE) -> ShownSlide:
    """Reduce an image to at most ``longest`` rows and columns, and trace its mask.

    Args:
        path: PNG, BMP, TIFF or JPEG file; a tiled TIFF is read strip by strip.
        mask: class indices (H, W).
        options: what the user declares about the file.
        longest: largest number of rows and columns of the picture.

    Raises:
        DataError: the file cannot be read.
        ValueError: image and mask differ in size.
    """
    step = thumbnail_step(mask.shape, longest)
    if is_tiled_tiff(path):
        with TiledTiff(path) as slide:
            _require_same_size(slide.size, mask.shape)
            pixels = thumbnail(slide.read, slide.size, step)
            recorded = slide.um_per_px
    else:
        full, _ = load_image(path, options)
        _require_same_size(full.shape[:2], mask.shape)
        pixels = np.asarray(Image.fromarray(full).reduce(step)) if step > 1 else full
        recorded = image_um_per_px(open_image(path))
    small = mask[::step, ::step]
    notes = ["The picture is compressed (WebP)."]
    if step > 1:
        notes.append(
            f"The file has {mask.shape[1]} × {mask.shape[0]} pixels; one pixel of every {step} × {step} is shown, and "
            "outlines follow these."
        )
    rows, columns = pixels.shape[:2]
    paths = {index: svg_path(small == index) for index in map(int, np.unique(small[small > 0]))}
    return ShownSlide(
        as_webp(pixels, _QUALITY), (rows, columns), paths, step, options.um_per_px or recorded, tuple(notes)
    )


def svg_path(inside: np.ndarray) -> str:
    """Outlines of pixels (H, W) as the data of an SVG path, to be filled by the rule "evenodd".

    >>> svg_path(np.ones((1, 2), bool))
    'M0 0H2V1H0Z'
    """
    return "".join(_ring(ring) for polygon in polygons(PixelRuns.of(inside)) for ring in polygon)


def _ring(ring: list[list[int]]) -> str:
    (x, y), *others = ring[:-1]  # the last corner equals the first, and Z closes the ring
    parts = [f"M{x} {y}"]
    for next_x, next_y in others:
        parts.append(f"H{next_x}" if next_y == y else f"V{next_y}")
        x, y = next_x, next_y
    return "".join([*parts, "Z"])


def _require_same_size(image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    if tuple(image) != tuple(mask):
        raise ValueError(f"it is {image[1]} × {image[0]} pixels, its mask {mask[1]} × {mask[0]}")
