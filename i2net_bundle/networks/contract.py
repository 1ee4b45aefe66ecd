"""What every network of this bundle must offer, and what it may offer besides.

A network maps an image (B, C, H, W) to logits (B, O, H, W). Where it decodes with gated learners, it may also have
``forward_with_gates(image) -> (logits, gates)`` and ``learner_parameters()``: loss terms, health records and gate views
appear for such networks alone.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def has_gates(network: nn.Module) -> bool:
    """Whether a network can return its gates."""
    return callable(getattr(network, "forward_with_gates", None))


def logits_and_gates(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits (B, O, H, W), and gates (B, K, h, w) of a network that has them."""
    forward: Any = getattr(network, "forward_with_gates", None)
    return forward(image) if callable(forward) else (network(image), None)


def learner_parameters(network: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Weight (K, O, C) and bias (K, O) of every gated layer; empty for a network without learners."""
    learners: Any = getattr(network, "learner_parameters", None)
    return list(learners()) if callable(learners) else []
