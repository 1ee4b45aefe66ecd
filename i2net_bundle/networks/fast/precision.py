"""Number formats inside the fast forms, and the length of the blocks that points are processed in."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from i2net_bundle.hardware import cpu_capabilities, multiplies_bfloat16


def product_dtype(dtype: torch.dtype, device_type: str) -> torch.dtype:
    """Format in which matrix products of ``dtype`` are computed: autocast's, where it is on and the device has it."""
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
    """Slices that cover all points, in blocks that fit into a CPU's second-level cache.

    Other devices hide memory latency behind many threads; there the blocks only bound the memory.

    Args:
        num_points: P.
        width: numbers per point that are alive at a time.
        device: of the points.
    """
    if device.type == "cpu":
        cache_bytes = int(cpu_capabilities().get("l2_cache_size", 1 << 20))
        length = max(256, cache_bytes * torch.get_num_threads() // width)
    else:
        length = max(1, (1 << 26) // width)
    for start in range(0, num_points, length):
        yield slice(start, min(start + length, num_points))
