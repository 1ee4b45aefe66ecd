"""Number formats of the fast forms, and the size of the blocks in which points are processed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from i2net_bundle.hardware import cpu_capabilities, multiplies_bfloat16


def product_dtype(dtype: torch.dtype, device_type: str) -> torch.dtype:
    """Format of matrix products of ``dtype``: that of autocast, if it is on and the device supports it."""
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        dtype = torch.get_autocast_dtype(device_type)
    if dtype == torch.bfloat16 and not multiplies_bfloat16(device_type):
        return torch.float32
    return dtype


def autocast_disabled(device_type: str) -> contextlib.AbstractContextManager:
    """Keep tensors in their own formats."""
    if not torch.amp.is_autocast_available(device_type):  # such as meta
        return contextlib.nullcontext()
    return torch.autocast(device_type, enabled=False)


def without_autocast(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a static method of a `torch.autograd.Function` in the formats of its arguments."""

    @functools.wraps(function)
    def wrapper(ctx: Any, *args: Any) -> Any:
        device_type = next((arg.device.type for arg in args if isinstance(arg, torch.Tensor)), "cpu")
        with autocast_disabled(device_type):
            return function(ctx, *args)

    return wrapper


def blocks(num_points: int, width: int, device: torch.device) -> Iterator[slice]:
    """Yield slices that cover all points, in blocks that fit the second-level cache of a CPU.

    Other devices hide memory latency behind many threads; there, the blocks only limit memory.

    Args:
        num_points: P.
        width: numbers per point that are alive at the same time.
        device: device of the points.
    """
    if device.type == "cpu":
        cache_bytes = int(cpu_capabilities().get("l2_cache_size", 1 << 20))
        length = max(256, cache_bytes * torch.get_num_threads() // width)
    else:
        length = max(1, (1 << 26) // width)
    for start in range(0, num_points, length):
        yield slice(start, min(start + length, num_points))
