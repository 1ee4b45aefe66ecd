"""What the hardware is good at: number format of matrix products, length of blocks, size of batches."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

logger = logging.getLogger("i2net.hardware")


@functools.cache
def _cpu_capabilities() -> dict[str, Any]:
    read: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)  # not in PyTorch before 2.10
    return read()


@functools.cache
def multiplies_bfloat16(device_type: str) -> bool:
    """Whether a device has bfloat16 instructions; what lacks them emulates bfloat16, many times slower.

    Where PyTorch does not say what a CPU can do (before 2.10), the user's word holds.
    """
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu" or not _cpu_capabilities():
        return True
    return any(_cpu_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def has_avx512() -> bool:
    """Whether this processor computes sixteen numbers at a time."""
    return bool(_cpu_capabilities().get("avx512_f"))


def usable_device(name: str | torch.device) -> torch.device:
    """A device by its name.

    Raises:
        ValueError: there is none of this name here; names those that there are.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as cause:  # the latter of a PyTorch that was built without CUDA
        found = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise ValueError(f"There is no device '{name}' here. Take one of: {', '.join(found)}.") from cause
    return device


def product_dtype(dtype: torch.dtype, device_type: str) -> torch.dtype:
    """What matrix products of ``dtype`` are computed in: autocast's format where one is set and the device has it."""
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        dtype = torch.get_autocast_dtype(device_type)
    if dtype == torch.bfloat16 and not multiplies_bfloat16(device_type):
        return torch.float32
    return dtype


def bfloat16(device_type: str, enabled: bool) -> contextlib.AbstractContextManager:
    """Autocast to bfloat16 where the device has it; elsewhere float32 is faster and exact, and a warning says so."""
    if enabled and not multiplies_bfloat16(device_type):
        _warn_of_emulation()
        enabled = False
    return torch.autocast(device_type, torch.bfloat16) if enabled else contextlib.nullcontext()


@functools.cache  # once
def _warn_of_emulation() -> None:
    logger.warning("This processor has no bfloat16 instructions: amp is left off, the network runs in float32.")


def autocast_disabled(device_type: str) -> contextlib.AbstractContextManager:
    """Leave tensors in the formats that they have."""
    if not torch.amp.is_autocast_available(device_type):  # such as meta
        return contextlib.nullcontext()
    return torch.autocast(device_type, enabled=False)


def without_autocast(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a static method of a `torch.autograd.Function` in the formats of what it is given."""

    @functools.wraps(function)
    def wrapper(ctx: Any, *args: Any) -> Any:
        device_type = next((arg.device.type for arg in args if isinstance(arg, torch.Tensor)), "cpu")
        with autocast_disabled(device_type):
            return function(ctx, *args)

    return wrapper


def blocks(num_points: int, width: int, device: torch.device) -> Iterator[slice]:
    """Slices that cover points in blocks that stay in cache: second-level caches hold a quarter of each.

    Devices other than CPUs hide memory behind many threads; there blocks only bound the memory taken.

    Args:
        num_points: P.
        width: numbers that are alive at a time for each point.
        device: where they are.
    """
    if device.type == "cpu":
        length = max(256, int(_cpu_capabilities().get("l2_cache_size", 1 << 20)) * torch.get_num_threads() // width)
    else:
        length = max(1, (1 << 26) // width)
    for start in range(0, num_points, length):
        yield slice(start, min(start + length, num_points))


def for_training(network: nn.Module, device: str | torch.device) -> nn.Module:
    """Put a network where it trains, its maps channels last where convolutions with gradients are faster so.

    That is on GPUs and on CPUs with AVX-512; with AVX2 alone a training step takes a fifth longer.

    Args:
        network: an `I2Net`.
        device: where to.
    """
    device = torch.device(device)
    if device.type == "cuda" or (device.type == "cpu" and has_avx512()):
        return _channels_last(network, device)
    return network.to(device)


def _channels_last(network: nn.Module, device: torch.device) -> nn.Module:
    moved: nn.Module = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def for_inference(network: nn.Module, device: str | torch.device, compile: bool = False) -> nn.Module:
    """Put a network where it predicts, its maps channels last; names of parameters stay.

    Args:
        network: an `I2Net`.
        device: where to.
        compile: compile encoder and neck when they first run, with ``torch.compile``; needs a C++ compiler on CPUs. The
            decoder's layers are one matrix product per block already.
    """
    network = _channels_last(network, torch.device(device))
    if compile:
        network.get_submodule("encoder").compile()
        network.get_submodule("neck").compile()
    return network


def slices_at_a_time(device: torch.device) -> int:
    """Slices of a forward pass that is no training step, where the user does not say.

    A CPU is as busy with two slices as with twenty, and the maps of two are small enough to lie in memory that the
    allocator keeps; larger ones are given back to the system and cleared anew for each layer.
    """
    return 2 if device.type == "cpu" else 24
