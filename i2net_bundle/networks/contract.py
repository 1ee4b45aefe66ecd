"""What the bundle requires of a network: a ``torch.nn.Module`` that maps images (B, C, H, W) to logits (B, O, H, W).

Two methods are optional. ``forward_with_gates(image)`` returns logits and gates (B, K, h, w), which sum to 1 over K.
``learner_parameters()`` returns the weight (K, O, C) and bias (K, O) of every gated layer. Networks that have them get
the loss terms, training records and figures of gates and learners.
"""

from __future__ import annotations

from torch import Tensor, nn


def has_gates(network: nn.Module) -> bool:
    """Whether a network returns gates."""
    return hasattr(network, "forward_with_gates")


def logits_and_gates(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor | None]:
    """Apply a network to images (B, C, H, W): logits (B, O, H, W) and gates (B, K, h, w), or None without gates."""
    if has_gates(network):
        logits, gates = network.forward_with_gates(image)  # type: ignore[operator]
        return logits, gates
    return network(image), None


def learner_parameters(network: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Weight (K, O, C) and bias (K, O) of every gated layer; empty for a network without gates."""
    return network.learner_parameters() if hasattr(network, "learner_parameters") else []  # type: ignore[operator]
