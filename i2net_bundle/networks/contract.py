"""What the bundle requires of a network: a ``torch.nn.Module`` that maps images (B, C, H, W) to logits (B, O, H, W).

Two methods are optional. ``forward_with_gates(image)`` returns logits and gates (B, K, h, w), which sum to 1 over K.
``learner_parameters()`` returns the weight (K, O, C) and bias (K, O) of every gated layer. Networks that have them get
the loss terms, training records and figures of gates and learners.

A network can also predict a separation map of touching glands, see `i2net_bundle.transforms.separation_targets`: the
sigmoid of one more channel, the last.
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


def split_separation(logits: Tensor, separates: bool) -> tuple[Tensor, Tensor | None]:
    """Split the logits of a network into those of the classes and that which separates glands.

    Args:
        logits: (B, O, ...).
        separates: whether the last channel separates glands.

    Returns:
        logits of the classes (B, O - 1, ...) and of the separation (B, 1, ...); or all logits, and None.

    Raises:
        ValueError: there is no channel left for the classes.
    """
    if not separates:
        return logits, None
    if logits.shape[1] < 2:
        raise ValueError(
            "The network returns one channel, which leaves none to separate glands. Add one to out_channels of "
            "network_def, or set separation to none."
        )
    return logits[:, :-1], logits[:, -1:]


def learner_parameters(network: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Weight (K, O, C) and bias (K, O) of every gated layer; empty for a network without gates."""
    return network.learner_parameters() if hasattr(network, "learner_parameters") else []  # type: ignore[operator]
