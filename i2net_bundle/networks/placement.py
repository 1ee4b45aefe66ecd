"""Move a network to its device, in the memory format and the form that run fastest there."""

from __future__ import annotations

import torch
from torch import nn

from i2net_bundle.hardware import has_avx512
from i2net_bundle.networks.fast import accelerate


def for_training(network: nn.Module, device: str | torch.device, fast: bool = True) -> nn.Module:
    """Move a network to the device it trains on.

    On GPUs and on CPUs with AVX-512, feature maps are channels-last, which makes convolutions with gradients faster. On
    CPUs with AVX2 only, channels-last would make a training step a fifth slower.

    Args:
        network: any network.
        device: device to train on.
        fast: use the fast forms of parts that have one, see `accelerate`.
    """
    device = torch.device(device)
    if device.type == "cuda" or (device.type == "cpu" and has_avx512()):
        network = _channels_last(network, device)
    return accelerate(network.to(device)) if fast else network.to(device)


def for_inference(
    network: nn.Module, device: str | torch.device, fast: bool = True, compile: bool = False
) -> nn.Module:
    """Move a network to the device it predicts on, with channels-last feature maps.

    Args:
        network: any network.
        device: device to predict on.
        fast: use the fast forms of parts that have one, see `accelerate`.
        compile: compile the network with ``torch.compile`` at its first call, which needs a C++ compiler on CPUs. Only
            encoder and neck of an I²Net are compiled, because the fast decoder has nothing to gain.
    """
    network = _channels_last(network, torch.device(device))
    if compile:
        parts = dict(network.named_children())
        for part in [parts[name] for name in ("encoder", "neck") if name in parts] or [network]:
            part.compile()
    return accelerate(network) if fast else network


def _channels_last(network: nn.Module, device: torch.device) -> nn.Module:
    moved: nn.Module = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved
