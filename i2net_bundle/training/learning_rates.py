"""Learning rates per part of a network."""

from __future__ import annotations

from typing import Any

from torch import nn


def parameter_groups(
    network: nn.Module, learning_rate: float, encoder_factor: float, auxiliary: nn.Module | None = None
) -> list[dict[str, Any]]:
    """Group parameters: the encoder with a scaled learning rate, and all others.

    A network without an ``encoder`` yields one group.

    Args:
        network: the network to train.
        learning_rate: of all parameters outside the encoder.
        encoder_factor: factor on the encoder's learning rate; below 1 for pretrained weights.
        auxiliary: auxiliary head, if any; it trains at ``learning_rate``.
    """
    part: Any = getattr(network, "encoder", None)
    encoder = list(part.parameters()) if isinstance(part, nn.Module) else []
    known = set(map(id, encoder))
    rest = [item for item in network.parameters() if id(item) not in known]
    rest += [] if auxiliary is None else auxiliary.parameters()
    groups: list[dict[str, Any]] = [{"params": rest, "lr": learning_rate}]
    if encoder:
        groups.append({"params": encoder, "lr": learning_rate * encoder_factor})
    return groups
