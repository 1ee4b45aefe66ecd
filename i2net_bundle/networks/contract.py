"""What the bundle asks of a network: an image (B, C, H, W) to logits (B, O, H, W). Any ``torch.nn.Module`` does.

A network may also offer its gates: ``forward_with_gates(image)`` returns logits and gates (B, K, h, w), which sum to 1
over K; ``learner_parameters()`` returns the weight (K, O, C) and bias (K, O) of every layer that the gates mix. Loss
terms, training records and pictures of gates and learners appear where these two exist.
"""

from __future__ import annotations

from torch import Tensor, nn


def has_gates(network: nn.Module) -> bool:
    """Whether a network offers its gates."""
    return hasattr(network, "forward_with_gates")


def logits_and_gates(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor | None]:
    """Segment an image (B, C, H, W): logits (B, O, H, W), and gates (B, K, h, w) or None where there are none."""
    if has_gates(network):
        logits, gates = network.forward_with_gates(image)  # type: ignore[operator]
        return logits, gates
    return network(image), None


def learner_parameters(network: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Weight (K, O, C) and bias (K, O) of every gated layer; empty for a network without gates."""
    return network.learner_parameters() if hasattr(network, "learner_parameters") else []  # type: ignore[operator]
