"""Estimate the memory of a prediction, and give errors of all allocators one type.

The network's share is in bytes per input pixel of a forward pass. It was measured on a CPU in float32, as the growth of
resident memory with the batch (CT: 2 and 8 slices of 224 × 224, 2008 bytes) and with the image (histology: 1536 and
2048 pixels square, 484 bytes).
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
_GLANDS_BYTES_PER_PIXEL = 1  # for runs of 100 pixels on average; the length of the outlines decides
_STORED_AND_INPUT = 2 + 2 + 4 + 4  # stored voxels, a copy for the statistics, the network's input, one step before it
_WORTH_LOGGING = 1e9  # bytes
_ALLOCATOR_ERRORS = (
    "DefaultCPUAllocator",
    "can't allocate memory",
    "CUDA error: out of memory",
    "_STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN
    "could not create a memory object",  # oneDNN
    "could not create a primitive",
    "could not execute a primitive",
)


def volume_bytes(shape: Sequence[int], batch_pixels: int, map_bytes: int) -> int:
    """Estimate the memory for a volume.

    Args:
        shape: voxels along each axis.
        batch_pixels: pixels of the slices in one forward pass.
        map_bytes: bytes per voxel of the maps that are kept of the network's output.
    """
    return math.prod(shape) * (_STORED_AND_INPUT + 2 * map_bytes) + batch_pixels * CT_BYTES_PER_PIXEL


def image_bytes(num_pixels: int, pass_pixels: int, map_bytes: int) -> int:
    """Estimate the memory for a 2D image.

    Args:
        num_pixels: pixels of the image; 0 for an image that is read in parts.
        pass_pixels: pixels in one forward pass.
        map_bytes: bytes per pixel of the maps that are kept of the network's output.
    """
    return num_pixels * (3 + map_bytes + _GLANDS_BYTES_PER_PIXEL) + pass_pixels * HISTOLOGY_BYTES_PER_PIXEL


def report_memory(name: str, needed: int) -> None:
    """Log the memory of a case if it is 1 GB or more, and warn if less is free.

    Args:
        name: name of the case.
        needed: bytes.
    """
    free = psutil.virtual_memory().available
    if needed > free:
        logger.warning(
            f"{name}: needs about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free. Close other "
            "programs, or lower batch_size."
        )
    elif needed >= _WORTH_LOGGING:
        logger.info(f"{name}: needs about {needed / 1e9:.1f} GB of memory")


def memory_advice(device: torch.device | str) -> str:
    """Advice for a prediction that does not fit into the memory of a device, in the smallest parts."""
    on_cpu = torch.device(device).type == "cpu"
    return (
        "Close other programs that use it, or leave out --flips, --uncertainty, --probabilities and additional "
        f"--weights. Otherwise {'use a computer with more memory' if on_cpu else 'pass --device cpu'}."
    )


@contextlib.contextmanager
def uniform_memory_errors() -> Iterator[None]:
    """Raise every error of an allocator in the block as the one that a GPU raises.

    Raises:
        torch.OutOfMemoryError: in place of ``MemoryError`` and of the ``RuntimeError`` of PyTorch's allocators and of
            the libraries below it.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except MemoryError as fault:
        raise torch.OutOfMemoryError(str(fault) or "not enough memory") from fault
    except RuntimeError as fault:
        if not any(words in str(fault) for words in _ALLOCATOR_ERRORS):
            raise
        raise torch.OutOfMemoryError(str(fault)) from fault
