"""Capabilities of the hardware: number formats, devices, and slices per forward pass."""

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
    """Instruction sets and cache sizes of this CPU, as PyTorch reports them; empty before PyTorch 2.10."""
    read: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)  # not in PyTorch before 2.10
    return read()


@functools.cache
def multiplies_bfloat16(device_type: str) -> bool:
    """Whether a device has bfloat16 instructions. Emulation is many times slower.

    PyTorch before 2.10 does not report the capabilities of a CPU; the answer is then True, and the user decides.
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
    """Return the device with this name.

    Raises:
        ValueError: this machine has no such device; the message lists the ones it has.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as cause:  # AssertionError: PyTorch was built without CUDA
        found = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise ValueError(f"This machine has no device '{name}'. Choose one of: {', '.join(found)}.") from cause
    return device


def bfloat16(device_type: str, enabled: bool) -> contextlib.AbstractContextManager:
    """Autocast to bfloat16 if the device supports it; else stay in float32, which is faster there, and warn once."""
    if enabled and not multiplies_bfloat16(device_type):
        _warn_of_emulation()
        enabled = False
    return torch.autocast(device_type, torch.bfloat16) if enabled else contextlib.nullcontext()


@functools.cache  # once
def _warn_of_emulation() -> None:
    logger.warning("This processor has no bfloat16 instructions: amp stays off, and the network runs in float32.")


def slices_at_a_time(device: torch.device) -> int:
    """Default number of slices per forward pass in evaluation and prediction.

    Two slices keep a CPU as busy as twenty, and the allocator reuses their small feature maps. It returns larger maps
    to the system, which clears the memory again for each layer.
    """
    return 2 if device.type == "cpu" else 24
