"""Large histology images, segmented in overlapping tiles that equal one pass over the whole image.

A logit depends on no pixel farther away than `MARGIN`, so a tile that is read with that margin around its core gives
the core the logits of the whole image; its corners lie on multiples of the encoder's stride, so that the same pixels
meet the same cells. For the GlaS network (ResNet-18):

- By arithmetic: a cell of stage 4 is centred at pixel 32 i and sees 217 pixels to each side (3 of the stem's 7×7, 2 of
  the pooling, then 16, 28, 56 and 112 of the four stages' 3×3 convolutions). The decoder's query at 1/4 takes the cell
  that it lies in, and two bilinear steps bring 1/4 to full size. Pixel 32 i + 2 is the farthest from the first cell it
  depends on, 34 pixels before it, and pixel 32 i + 29 from the last, 3 pixels after it: a logit reaches 34 + 217 = 251
  pixels up and to the left, and 3 + 217 = 220 pixels down and to the right.
- By measurement: the gradient of single logits with respect to the image, in evaluation mode with random weights, is
  not zero at exactly these distances, and zero beyond; the tests repeat it.

Where the image is resized to the training scale, cubic interpolation of the logits adds 2 pixels; the margin holds
these too.

The decoder takes the nearest cells of a grid that spans the image. Only where the sides are multiples of 32 has that
grid cells of whole pixels. Other images are continued here by their border to such a size, as the network itself does
with its ``divisor`` of 32 (`configs/glas.yaml`).
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

from i2net_bundle.prediction.inferers import classify
from i2net_bundle.prediction.memory import one_memory_error

logger = logging.getLogger("i2net.prediction")

STRIDE = 32
"""Of the ResNet encoders' coarsest level, in pixels."""
MARGIN = 256
"""Receptive field of the GlaS network to one side, 251 pixels, as a multiple of the stride."""
CORE = 1024
"""Side of a core: 2.25 times the image's pixels are computed, in windows of 1536 × 1536."""
MIN_CORE = 128
"""Windows of 640 × 640; smaller cores would hardly save memory, since the margins stay."""
TILED_ABOVE_PX = 2048 * 2048
"""Pixels above which images are tiled: a pass takes some 490 bytes per pixel in float32, here 1.9 GiB; a tile 1.1."""

Read = Callable[[slice, slice], np.ndarray]


@dataclass(frozen=True)
class Tile:
    """A part of an image and what must be read for it.

    Attributes:
        core: rows and columns that the tile is for.
        window: rows and columns to read: the core and its margins, as far as the image goes.
    """

    core: tuple[slice, slice]
    window: tuple[slice, slice]

    @property
    def kept(self) -> tuple[slice, slice]:
        """The core's rows and columns within the window."""
        rows, cols = (
            slice(core.start - window.start, core.stop - window.start)
            for core, window in zip(self.core, self.window, strict=True)
        )
        return rows, cols


def tiles(height: int, width: int, core: int = CORE, margin: int = MARGIN) -> Iterator[Tile]:
    """Cover an image with cores, row by row; each pixel lies in one.

    Args:
        height: rows of the image.
        width: columns of the image.
        core: side of the cores, a multiple of the stride; the last ones are what is left.
        margin: read around each core, a multiple of the stride.

    Raises:
        ValueError: ``core`` or ``margin`` is no multiple of the stride.

    >>> [(tile.core[1], tile.window[1]) for tile in tiles(32, 160, core=64, margin=32)]
    [(slice(0, 64, None), slice(0, 96, None)), (slice(64, 128, None), slice(32, 160, None)), \
(slice(128, 160, None), slice(96, 160, None))]
    """
    if core < STRIDE or core % STRIDE or margin < 0 or margin % STRIDE:
        raise ValueError(f"core {core} and margin {margin} must be multiples of {STRIDE}, the core at least {STRIDE}.")
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
    normalise: Callable[[Tensor], Tensor],
    scale: float = 1.0,
    core: int = CORE,
    margin: int = MARGIN,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> np.ndarray:
    """Segment an image tile by tile; memory beyond the result and what ``read`` holds does not grow with the image.

    When the device's memory does not suffice for a tile, the cores are halved, down to `MIN_CORE`; what is done stays.

    Args:
        read: rows and columns of the image to their pixels (h, w, 3), uint8.
        size: rows and columns of the image.
        network: images (1, 3, h, w) to logits (1, O, h, w), of no wider receptive field than ``margin``.
        readout: logits (1, O, h, w) to the maps that are kept (1, M, h, w).
        normalise: pixels (3, h, w) of 0-255, uint8 or resized float32, to what the network sees, pixel by pixel.
        scale: by how much the image is to be magnified before it is segmented; the maps come back on its own grid.
        core: side of the cores, a multiple of 32.
        margin: read around each core, a multiple of 32.
        device: of the network.
        progress: whether to show a bar (never where the output is no terminal).

    Returns:
        maps (M, H, W), of the dtype that ``readout`` gives.

    Raises:
        torch.OutOfMemoryError: memory does not suffice for the smallest tile; says what to do.
        ValueError: the image is empty, or ``core`` or ``margin`` is no multiple of 32.
    """
    if min(size) < 1:
        raise ValueError(f"An image of {size[0]} × {size[1]} pixels cannot be segmented.")
    grid = _Grid(read, size, scale)
    pending = deque(tiles(*grid.continued, core, margin))
    maps: np.ndarray | None = None
    with tqdm(total=math.prod(size), unit="px", unit_scale=True, disable=None if progress else True) as bar:
        while pending:
            tile = pending[0]
            rows, cols = grid.own(tile.core)
            if rows.start == rows.stop or cols.start == cols.stop:  # only what continues the image
                pending.popleft()
                continue
            try:
                with one_memory_error():
                    pixels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(grid.pixels(tile.window), -1, 0)))
                    image: Any = normalise(pixels)
                    logits = network(convert_to_tensor(image, track_meta=False)[None].to(device))
                    part = readout(grid.restored(logits, tile))[0].cpu().numpy()
            except torch.OutOfMemoryError:
                part = None  # goes on below, where the traceback no longer holds the tensors
            if part is None:
                core = _halved(core, device)
                pending = deque(smaller for tile in pending for smaller in _split(tile, core, margin, grid.continued))
                continue
            if maps is None:
                maps = np.empty((len(part), *size), part.dtype)
            maps[:, rows, cols] = part
            bar.update(part[0].size)
            pending.popleft()
    assert maps is not None
    return maps


class _Grid:
    """The grid that the network sees: the image at the training scale, continued by its border to multiples of 32."""

    def __init__(self, read: Read, size: tuple[int, int], scale: float) -> None:
        self.read, self.size = read, size
        self.scaled = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        self.continued = (_next_multiple(self.scaled[0]), _next_multiple(self.scaled[1]))

    def pixels(self, window: tuple[slice, slice]) -> np.ndarray:
        """Pixels (h, w, 3) of a window of this grid."""
        rows, cols = (slice(part.start, min(part.stop, side)) for part, side in zip(window, self.scaled, strict=True))
        inside = self.read(rows, cols) if self.scaled == self.size else self._resized(rows, cols)
        missing = [part.stop - kept.stop for part, kept in zip(window, (rows, cols), strict=True)]
        return np.pad(inside, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge") if any(missing) else inside

    def own(self, core: tuple[slice, slice]) -> tuple[slice, slice]:
        """Rows and columns of the image whose centres lie in a core of this grid; none in what continues the image."""
        rows, cols = (
            slice(*(_first_centre(edge, own, side) for edge in (part.start, part.stop)))
            for part, own, side in zip(core, self.size, self.scaled, strict=True)
        )
        return rows, cols

    def restored(self, logits: Tensor, tile: Tile) -> Tensor:
        """Logits (1, O, h, w) of a tile's window to those of its core's pixels on the image's own grid."""
        if self.scaled == self.size:
            rows, cols = (
                slice(kept.start, kept.start + own.stop - own.start)
                for kept, own in zip(tile.kept, self.own(tile.core), strict=True)
            )
            return logits[:, :, rows, cols]
        parts = []
        for own, window, size, scaled in zip(self.own(tile.core), tile.window, self.size, self.scaled, strict=True):
            centre = (torch.arange(own.start, own.stop, dtype=torch.float64) + 0.5) * scaled / size - window.start
            parts.append((2 * centre / (window.stop - window.start) - 1).to(logits.device, torch.float32))
        at = torch.stack(torch.meshgrid(parts[1], parts[0], indexing="xy"), dim=-1)[None]
        return F.grid_sample(logits.float(), at, mode="bicubic", padding_mode="border", align_corners=False)

    def _resized(self, rows: slice, cols: slice) -> np.ndarray:
        """A window of the scaled image by antialiased cubic interpolation; Pillow takes a box of fractional corners."""
        sources, box = [], []
        for part, own, scaled in zip((rows, cols), self.size, self.scaled, strict=True):
            ratio = own / scaled
            reach = math.ceil(2 * max(1.0, ratio)) + 1  # of the kernel
            low = max(0, math.floor(part.start * ratio) - reach)
            high = min(own, math.ceil(part.stop * ratio) + reach)
            sources.append(slice(low, high))
            box.append((part.start * ratio - low, min(part.stop * ratio, own) - low))
        (top, bottom), (left, right) = box
        resized = np.empty((rows.stop - rows.start, cols.stop - cols.start, 3), np.float32)
        for channel, values in enumerate(np.moveaxis(self.read(*sources), -1, 0)):
            image = Image.fromarray(values.astype(np.float32))  # in 8 bits the rounding would differ from tile to tile
            resized[..., channel] = image.resize(
                resized.shape[1::-1], Image.Resampling.BICUBIC, box=(left, top, right, bottom)
            )
        return resized


def _halved(core: int, device: torch.device | str) -> int:
    if core <= MIN_CORE:
        raise torch.OutOfMemoryError(
            f"Memory of {device} does not suffice for a tile with a core of {core} × {core} pixels, the smallest there "
            "is. End what else uses it, leave out flips and several weights, or compute on the CPU (--device cpu)."
        )
    smaller = max(MIN_CORE, core // 2 // STRIDE * STRIDE)
    logger.warning(f"memory does not suffice for tiles of {core} × {core} pixels: going on with {smaller} × {smaller}")
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    return smaller


def _split(tile: Tile, core: int, margin: int, size: tuple[int, int]) -> Iterator[Tile]:
    """Cut a tile into smaller ones."""
    rows, cols = tile.core
    for part in tiles(rows.stop - rows.start, cols.stop - cols.start, core, 0):
        inner_rows, inner_cols = (
            slice(whole.start + inner.start, whole.start + inner.stop)
            for whole, inner in zip(tile.core, part.core, strict=True)
        )
        window = _widened(inner_rows, margin, size[0]), _widened(inner_cols, margin, size[1])
        yield Tile((inner_rows, inner_cols), window)


def _widened(part: slice, margin: int, side: int) -> slice:
    return slice(max(0, part.start - margin), min(part.stop + margin, side))


def _next_multiple(side: int) -> int:
    return -(-side // STRIDE) * STRIDE


def _first_centre(edge: int, own: int, scaled: int) -> int:
    """Index of the first of ``own`` pixels whose centre does not lie before ``edge`` on a grid of ``scaled`` cells."""
    return max(0, min(own, -((scaled - 2 * edge * own) // (2 * scaled))))


def thumbnail_step(size: tuple[int, int], longest: int = 1024) -> int:
    """Every which pixel of an image to take for ``longest`` rows or columns at most."""
    return -(-max(size) // longest)


def thumbnail(read: Read, size: tuple[int, int], step: int) -> np.ndarray:
    """Every n-th pixel of an image, read strip by strip.

    Args:
        read: rows and columns of the image to their pixels (h, w, 3), uint8.
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
