"""What the hardware can do: its number formats, its devices, how many slices it takes at a time."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable
from typing import Any

import torch

logger = logging.getLogger("i2net.hardware")


@functools.cache
def cpu_capabilities() -> dict[str, Any]:
    """What PyTorch reports of this CPU: instruction sets and cache sizes; empty before PyTorch 2.10."""
    read: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)  # not in PyTorch before 2.10
    return read()


@functools.cache
def multiplies_bfloat16(device_type: str) -> bool:
    """Whether a device has bfloat16 instructions; without them bfloat16 is emulated, many times slower.

    Where PyTorch does not report what a CPU can do (before 2.10), the answer is yes: the user decides.
    """
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu" or not cpu_capabilities():
        return True
    return any(cpu_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def has_avx512() -> bool:
    """Whether this CPU has AVX-512."""
    return bool(cpu_capabilities().get("avx512_f"))


def usable_device(name: str | torch.device) -> torch.device:
    """The device of that name.

    Raises:
        ValueError: this machine does not have it; lists the devices it has.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as cause:  # AssertionError: PyTorch was built without CUDA
        found = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise ValueError(f"This machine has no device '{name}'. Choose one of: {', '.join(found)}.") from cause
    return device


def bfloat16(device_type: str, enabled: bool) -> contextlib.AbstractContextManager:
    """Autocast to bfloat16 where the device has it; elsewhere stay in float32, which is faster there, and warn once."""
    if enabled and not multiplies_bfloat16(device_type):
        _warn_of_emulation()
        enabled = False
    return torch.autocast(device_type, torch.bfloat16) if enabled else contextlib.nullcontext()


@functools.cache  # once
def _warn_of_emulation() -> None:
    logger.warning("This processor has no bfloat16 instructions: amp stays off, and the network runs in float32.")


def slices_at_a_time(device: torch.device) -> int:
    """Default number of slices per forward pass outside training.

    Two slices keep a CPU as busy as twenty do, and their feature maps are small enough for the allocator to reuse;
    larger maps go back to the system and are cleared again for each layer.
    """
    return 2 if device.type == "cpu" else 24
