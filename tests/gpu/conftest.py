"""The device of the tests marked ``gpu``: a GPU, or the CPU for a dry run (``make gpu-check`` without a GPU)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

DEVICE = os.environ.get("I2NET_GPU_CHECK", "cuda")


@pytest.fixture
def device() -> Iterator[torch.device]:
    """The device, with convolutions in full float32."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device; make gpu-check runs these tests on the CPU where there is none")
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield torch.device(DEVICE)


@pytest.fixture
def gpu(device: torch.device) -> torch.device:
    """The device, of tests that the CPU cannot stand in for."""
    if device.type != "cuda":
        pytest.skip("needs a GPU: the CPU has no copies to the host, and no memory of its own")
    return device
