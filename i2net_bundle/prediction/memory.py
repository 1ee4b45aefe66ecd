"""How much memory a prediction takes, told before it is taken.

The network's share is bytes per input pixel of a forward pass, measured on a CPU in float32 as the growth of resident
memory with the batch (CT: 2 and 8 slices of 224 x 224, 2008 bytes) and with the image (histology: 1536 and 2048 pixels
square, 484 bytes).
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Sequence

import psutil
import torch

logger = logging.getLogger("i2net.prediction")

CT_BYTES_PER_PIXEL, HISTOLOGY_BYTES_PER_PIXEL = 2100, 500
_GLANDS_BYTES_PER_PIXEL = 1  # runs of 100 pixels on the average; their outlines' length decides
_STORED_AND_SEEN = 2 + 2 + 4 + 4  # voxels as stored, a copy for the statistics, what the network sees, one step of it


def volume_bytes(shape: Sequence[int], batch_pixels: int, map_bytes: int) -> int:
    """Memory for a CT volume.

    Args:
        shape: voxels along each axis.
        batch_pixels: pixels of the slices that pass through the network at a time.
        map_bytes: bytes per voxel of what is kept of the network's output.
    """
    return math.prod(shape) * (_STORED_AND_SEEN + 2 * map_bytes) + batch_pixels * CT_BYTES_PER_PIXEL


def image_bytes(num_pixels: int, pass_pixels: int, map_bytes: int) -> int:
    """Memory for an image.

    Args:
        num_pixels: of the image; none are kept of one that is read in parts.
        pass_pixels: pixels that pass through the network at a time.
        map_bytes: bytes per pixel of what is kept of the network's output.
    """
    return num_pixels * (3 + map_bytes + _GLANDS_BYTES_PER_PIXEL) + pass_pixels * HISTOLOGY_BYTES_PER_PIXEL


def tell_memory(name: str, needed: int) -> None:
    """Log how much memory a case takes; a warning where less is free.

    Args:
        name: of the case.
        needed: bytes.
    """
    free = psutil.virtual_memory().available
    logger.info(f"{name}: about {needed / 1e9:.1f} GB of memory")
    if needed > free:
        logger.warning(f"{name}: only {free / 1e9:.1f} GB are free. Close other programs, or lower batch_size.")


@contextlib.contextmanager
def one_memory_error() -> Iterator[None]:
    """Raise what a CPU raises where memory does not suffice as what a GPU raises.

    Raises:
        torch.OutOfMemoryError: in place of ``MemoryError`` and of the ``RuntimeError`` of PyTorch's CPU allocator.
    """
    try:
        yield
    except MemoryError as fault:
        raise torch.OutOfMemoryError(str(fault) or "not enough memory") from fault
    except RuntimeError as fault:
        if "DefaultCPUAllocator" not in str(fault):
            raise
        raise torch.OutOfMemoryError(str(fault)) from fault
