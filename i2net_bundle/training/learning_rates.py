"""Learning rates per part of a network."""

from __future__ import annotations

from typing import Any

from torch import nn


def parameter_groups(network: nn.Module, learning_rate: float, encoder_factor: float) -> list[dict[str, Any]]:
    """The network's parameters in two groups: the encoder at a share of the learning rate, and all others.

    A network without an ``encoder`` gives one group.

    Args:
        network: the network to train.
        learning_rate: of everything but the encoder.
        encoder_factor: the encoder's rate as a share of it; below 1 where its weights are pretrained.
    """
    part: Any = getattr(network, "encoder", None)
    encoder = list(part.parameters()) if isinstance(part, nn.Module) else []
    known = set(map(id, encoder))
    groups = [{"params": [item for item in network.parameters() if id(item) not in known], "lr": learning_rate}]
    if encoder:
        groups.append({"params": encoder, "lr": learning_rate * encoder_factor})
    return groups
