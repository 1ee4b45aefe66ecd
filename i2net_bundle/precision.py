"""bfloat16 where hardware computes in it: elsewhere it is emulated, and slower than float32 by orders of magnitude."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import torch

_CPU_FEATURES = ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16")


def use_bfloat16(device: torch.device | str, wanted: bool) -> bool:
    """Whether to run a network under bfloat16 autocast; a warning is logged where it is wanted and the device lacks it.

    Args:
        device: what the network runs on.
        wanted: the user's ``amp``.
    """
    if not wanted or has_bfloat16(torch.device(device).type):
        return wanted
    logging.getLogger("i2net.precision").warning(
        "amp is on, but this CPU only emulates bfloat16, far more slowly than float32: going on in float32."
    )
    return False


@cache
def has_bfloat16(device_type: str) -> bool:
    """Whether the hardware computes in bfloat16.

    Args:
        device_type: such as "cpu" or "cuda".
    """
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu":
        return True
    capabilities: dict[str, Any] = dict(getattr(torch.cpu, "get_capabilities", dict)())
    # older versions of PyTorch do not say; then the user's word holds
    return not capabilities or any(capabilities.get(feature, False) for feature in _CPU_FEATURES)
