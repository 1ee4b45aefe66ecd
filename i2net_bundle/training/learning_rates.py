"""What an optimiser trains at which rate."""

from __future__ import annotations

from typing import Any

from i2net_bundle.networks import I2Net


def parameter_groups(network: I2Net, learning_rate: float, encoder_factor: float) -> list[dict[str, Any]]:
    """The network's parameters in two groups: the rest at ``learning_rate``, and the encoder at a share of it.

    Args:
        network: what is trained.
        learning_rate: of everything but the encoder.
        encoder_factor: the encoder's rate as a share of it; below 1 where its weights are pretrained.
    """
    encoder = set(map(id, network.encoder.parameters()))
    rest = [parameter for parameter in network.parameters() if id(parameter) not in encoder]
    return [
        {"params": rest, "lr": learning_rate},
        {"params": list(network.encoder.parameters()), "lr": learning_rate * encoder_factor},
    ]
