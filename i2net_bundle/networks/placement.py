"""Put a network on its device, in the memory format and form that run fastest there."""

from __future__ import annotations

import torch
from torch import nn

from i2net_bundle.hardware import has_avx512
from i2net_bundle.networks.fast import accelerate


def for_training(network: nn.Module, device: str | torch.device, fast: bool = True) -> nn.Module:
    """Put a network where it trains.

    Feature maps are channels-last where convolutions with gradients run faster so: on GPUs and on CPUs with AVX-512.
    With AVX2 alone a training step would take a fifth longer.

    Args:
        network: any network.
        device: where to put it.
        fast: whether parts that have a fast form take it, see `accelerate`.
    """
    device = torch.device(device)
    if device.type == "cuda" or (device.type == "cpu" and has_avx512()):
        network = _channels_last(network, device)
    return accelerate(network.to(device)) if fast else network.to(device)


def for_inference(
    network: nn.Module, device: str | torch.device, fast: bool = True, compile: bool = False
) -> nn.Module:
    """Put a network where it predicts; feature maps are channels-last.

    Args:
        network: any network.
        device: where to put it.
        fast: whether parts that have a fast form take it, see `accelerate`.
        compile: compile the network with ``torch.compile`` at its first call; needs a C++ compiler on CPUs. Of an
            I²Net only encoder and neck are compiled: the fast decoder is one matrix product per block already.
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
