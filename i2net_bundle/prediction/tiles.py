"""Large histology images, segmented in overlapping tiles.

A tile is read with a margin around its core, and only the core is kept. The tiles' logits equal those of one pass over
the whole image under two conditions: the margin covers the network's receptive field, and the corners of the tiles are
multiples of the network's divisor. Both hold for the bundle's GlaS network (ResNet-18, divisor 32, margin 256). Another
network needs a margin for its own receptive field, and batch instead of instance normalization.

- Calculated: a cell of stage 4 is centered at pixel 32 i and depends on 217 pixels to each side (3 from the stem's 7×7
  convolution, 2 from the pooling, then 16, 28, 56 and 112 from the 3×3 convolutions of the four stages). The decoder's
  query at 1/4 uses the cell it lies in, and two bilinear steps bring 1/4 to full size. Pixel 32 i + 2 is the farthest
  from the first cell it depends on, 34 pixels before it. Pixel 32 i + 29 is the farthest from the last one, 3 pixels
  after it. So a logit depends on 34 + 217 = 251 pixels up and to the left, and 3 + 217 = 220 down and to the right.
- Measured: in evaluation mode with random weights, the gradient of single logits with respect to the image is nonzero
  at exactly these distances and zero beyond them. The tests repeat this.

If the image is resized to the training scale, cubic interpolation of the logits adds 2 pixels, which the margin also
covers. Images are replicate-padded to multiples of the divisor, as in `WholeImageInferer`.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_tensor
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from i2net_bundle.prediction.gland_shapes import Read
from i2net_bundle.prediction.inferers import classify
from i2net_bundle.prediction.memory import memory_advice, uniform_memory_errors

logger = logging.getLogger("i2net.prediction")

CORE = 1024
"""Side of a core. The windows of 1536 × 1536 add up to 2.25 times the image's pixels."""
MIN_CORE = 128
"""Smallest core. Its window is 640 × 640; smaller cores would save little memory, because the margins stay."""
TILED_ABOVE_PX = 2048 * 2048
"""Larger images are tiled. One pass needs about 490 bytes per pixel in float32: 1.9 GiB here, 1.1 GiB for a tile."""


@dataclass(frozen=True)
class Tile:
    """Part of an image, and the window to read for it.

    Attributes:
        core: rows and columns of the result.
        window: rows and columns to read: the core and its margins, within the image.
    """

    core: tuple[slice, slice]
    window: tuple[slice, slice]

    @property
    def kept(self) -> tuple[slice, slice]:
        """Rows and columns of the core within the window."""
        rows, cols = (
            slice(core.start - window.start, core.stop - window.start)
            for core, window in zip(self.core, self.window, strict=True)
        )
        return rows, cols


def tiles(height: int, width: int, core: int, margin: int, divisor: int) -> Iterator[Tile]:
    """Cover an image with cores, row by row; each pixel is in exactly one core.

    Args:
        height: rows of the image.
        width: columns of the image.
        core: side of the cores, a multiple of ``divisor``; the last core of a row or column may be smaller.
        margin: pixels to read around each core, a multiple of ``divisor``.
        divisor: the corners of the tiles are multiples of it.

    Raises:
        ValueError: ``core`` or ``margin`` is not a multiple of ``divisor``.

    >>> [(tile.core[1], tile.window[1]) for tile in tiles(32, 160, core=64, margin=32, divisor=32)]
    [(slice(0, 64, None), slice(0, 96, None)), (slice(64, 128, None), slice(32, 160, None)), \
(slice(128, 160, None), slice(96, 160, None))]
    """
    if core < divisor or core % divisor or margin < 0 or margin % divisor:
        raise ValueError(
            f"core {core} and margin {margin} must be multiples of {divisor}, and the core at least {divisor}."
        )
    for top in range(0, height, core):
        for left in range(0, width, core):
            rows, cols = slice(top, min(top + core, height)), slice(left, min(left + core, width))
            yield Tile((rows, cols), (_widened(rows, margin, height), _widened(cols, margin, width)))


@torch.inference_mode()
def infer_tiles(
    read: Read,
    size: tuple[int, int],
    network: Callable[[Tensor], Tensor],
    readout: Callable[[Tensor], Tensor] = classify,
    *,
    normalize: Callable[[Tensor], Tensor],
    margin: int,
    divisor: int = 1,
    scale: float = 1.0,
    core: int = CORE,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> np.ndarray:
    """Segment an image tile by tile; apart from the result and the source, memory does not grow with the image.

    If a tile does not fit into the device's memory, the cores are halved, down to `MIN_CORE`. Finished tiles are kept.
    ``core`` and ``margin`` are rounded up to multiples of ``divisor``.

    Args:
        read: returns the pixels (h, w, 3), uint8, of rows and columns of the image.
        size: rows and columns of the image.
        network: maps images (1, 3, h, w) to logits (1, O, h, w); its receptive field must fit ``margin``.
        readout: maps logits (1, O, h, w) to the maps to keep (1, M, h, w).
        normalize: pixel-wise map from 0-255 (3, h, w), uint8 or resized float32, to the network's input.
        margin: pixels to read around each core.
        divisor: the network needs sides divisible by it.
        scale: magnification before segmentation; the maps are on the image's own grid again.
        core: side of the cores.
        device: device of the network.
        progress: show a progress bar if the output is a terminal.

    Returns:
        maps (M, H, W), with the dtype of ``readout``.

    Raises:
        torch.OutOfMemoryError: the smallest tile does not fit into memory; gives advice.
        ValueError: the image is empty.
    """
    if min(size) < 1:
        raise ValueError(f"An image of {size[0]} × {size[1]} pixels cannot be segmented.")
    core, margin = _next_multiple(core, divisor), _next_multiple(margin, divisor)
    grid = _Grid(read, size, scale, divisor)
    pending = deque(tiles(*grid.padded, core, margin, divisor))
    maps: np.ndarray | None = None
    with tqdm(total=math.prod(size), unit="px", unit_scale=True, disable=None if progress else True) as bar:
        while pending:
            tile = pending[0]
            rows, cols = grid.own(tile.core)
            if rows.start == rows.stop or cols.start == cols.stop:  # padding only
                pending.popleft()
                continue
            try:
                with uniform_memory_errors():
                    pixels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(grid.pixels(tile.window), -1, 0)))
                    image: Any = normalize(pixels)
                    logits = network(convert_to_tensor(image, track_meta=False)[None].to(device))
                    part = readout(grid.restored(logits, tile))[0].cpu().numpy()
            except torch.OutOfMemoryError:
                part = None  # handled below, where the traceback no longer holds the tensors
            if part is None:
                core = _halved(core, divisor, device)
                pending = deque(
                    smaller for tile in pending for smaller in _split(tile, core, margin, divisor, grid.padded)
                )
                continue
            if maps is None:
                maps = np.empty((len(part), *size), part.dtype)
            maps[:, rows, cols] = part
            bar.update(part[0].size)
            pending.popleft()
    assert maps is not None
    return maps


class _Grid:
    """Grid of the network's input: the image at the training scale, padded to multiples of ``divisor``."""

    def __init__(self, read: Read, size: tuple[int, int], scale: float, divisor: int) -> None:
        self.read, self.size = read, size
        self.scaled = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        self.padded = (_next_multiple(self.scaled[0], divisor), _next_multiple(self.scaled[1], divisor))

    def pixels(self, window: tuple[slice, slice]) -> np.ndarray:
        """Read the pixels (h, w, 3) of a window of this grid."""
        rows, cols = (slice(part.start, min(part.stop, side)) for part, side in zip(window, self.scaled, strict=True))
        inside = self.read(rows, cols) if self.scaled == self.size else self._resized(rows, cols)
        missing = [part.stop - kept.stop for part, kept in zip(window, (rows, cols), strict=True)]
        return np.pad(inside, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge") if any(missing) else inside

    def own(self, core: tuple[slice, slice]) -> tuple[slice, slice]:
        """Rows and columns of the image whose centers lie in a core of this grid; none in the padding."""
        rows, cols = (
            slice(*(_first_center(edge, own, side) for edge in (part.start, part.stop)))
            for part, own, side in zip(core, self.size, self.scaled, strict=True)
        )
        return rows, cols

    def restored(self, logits: Tensor, tile: Tile) -> Tensor:
        """Crop or interpolate the logits (1, O, h, w) of a tile's window to its core's pixels on the image's grid."""
        if self.scaled == self.size:
            rows, cols = (
                slice(kept.start, kept.start + own.stop - own.start)
                for kept, own in zip(tile.kept, self.own(tile.core), strict=True)
            )
            return logits[:, :, rows, cols]
        parts = []
        for own, window, size, scaled in zip(self.own(tile.core), tile.window, self.size, self.scaled, strict=True):
            center = (torch.arange(own.start, own.stop, dtype=torch.float64) + 0.5) * scaled / size - window.start
            parts.append((2 * center / (window.stop - window.start) - 1).to(logits.device, torch.float32))
        at = torch.stack(torch.meshgrid(parts[1], parts[0], indexing="xy"), dim=-1)[None]
        return F.grid_sample(logits.float(), at, mode="bicubic", padding_mode="border", align_corners=False)

    def _resized(self, rows: slice, cols: slice) -> np.ndarray:
        """Resize a window by antialiased cubic interpolation; Pillow accepts a box with fractional corners."""
        sources, box = [], []
        for part, own, scaled in zip((rows, cols), self.size, self.scaled, strict=True):
            ratio = own / scaled
            reach = math.ceil(2 * max(1.0, ratio)) + 1  # half width of the kernel
            low = max(0, math.floor(part.start * ratio) - reach)
            high = min(own, math.ceil(part.stop * ratio) + reach)
            sources.append(slice(low, high))
            box.append((part.start * ratio - low, min(part.stop * ratio, own) - low))
        (top, bottom), (left, right) = box
        resized = np.empty((rows.stop - rows.start, cols.stop - cols.start, 3), np.float32)
        for channel, values in enumerate(np.moveaxis(self.read(*sources), -1, 0)):
            image = Image.fromarray(values.astype(np.float32))  # 8-bit rounding would differ between tiles
            resized[..., channel] = image.resize(
                resized.shape[1::-1], Image.Resampling.BICUBIC, box=(left, top, right, bottom)
            )
        return resized


def _halved(core: int, divisor: int, device: torch.device | str) -> int:
    smallest = _next_multiple(MIN_CORE, divisor)
    if core <= smallest:
        raise torch.OutOfMemoryError(
            f"The smallest tile, with a core of {core} × {core} pixels, does not fit into the memory of {device}. "
            f"{memory_advice(device)}"
        )
    smaller = max(smallest, core // 2 // divisor * divisor)
    logger.warning(f"tiles of {core} × {core} pixels do not fit into memory: continuing with {smaller} × {smaller}")
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    return smaller


def _split(tile: Tile, core: int, margin: int, divisor: int, size: tuple[int, int]) -> Iterator[Tile]:
    """Cut a tile into smaller tiles."""
    rows, cols = tile.core
    for part in tiles(rows.stop - rows.start, cols.stop - cols.start, core, 0, divisor):
        inner_rows, inner_cols = (
            slice(whole.start + inner.start, whole.start + inner.stop)
            for whole, inner in zip(tile.core, part.core, strict=True)
        )
        window = _widened(inner_rows, margin, size[0]), _widened(inner_cols, margin, size[1])
        yield Tile((inner_rows, inner_cols), window)


def _widened(part: slice, margin: int, side: int) -> slice:
    return slice(max(0, part.start - margin), min(part.stop + margin, side))


def _next_multiple(side: int, divisor: int) -> int:
    return -(-side // divisor) * divisor


def _first_center(edge: int, own: int, scaled: int) -> int:
    """Index of the first of ``own`` pixels with its center at or after ``edge`` on a grid of ``scaled`` cells."""
    return max(0, min(own, -((scaled - 2 * edge * own) // (2 * scaled))))


def thumbnail_step(size: tuple[int, int], longest: int = 1024) -> int:
    """Step between the pixels of a thumbnail of at most ``longest`` rows and columns."""
    return -(-max(size) // longest)


def thumbnail(read: Read, size: tuple[int, int], step: int) -> np.ndarray:
    """Read every n-th pixel of an image, strip by strip.

    Args:
        read: returns the pixels (h, w, 3), uint8, of rows and columns of the image.
        size: rows and columns of the image.
        step: n.

    Returns:
        (h, w, 3), uint8; rows and columns 0, n, 2 n, ... of the image.
    """
    height = step * max(1, CORE // step)
    strips = [
        read(slice(top, min(top + height, size[0])), slice(0, size[1]))[::step, ::step]
        for top in range(0, size[0], height)
    ]
    return np.concatenate(strips)
