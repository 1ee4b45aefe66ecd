"""Gate shaping (Eq. 4 and 5): a sharp gate at every point, and an even mean gate. Logarithms are natural."""

from __future__ import annotations

import torch
from torch import Tensor


def entropy(probability: Tensor, dim: int) -> Tensor:
    """H(p) = -Σ p ln p along ``dim``; value and gradient stay finite where p underflows to 0.

    The logarithm is taken of max(p, smallest normal number). ``xlogy`` and ``entr`` have an infinite derivative at 0,
    which becomes NaN in the backward pass of the softmax.

    >>> entropy(torch.tensor([0.5, 0.5, 0.0]), dim=0).item()  # ln 2
    0.6931471824645996
    """
    smallest = torch.finfo(probability.dtype).tiny
    return -(probability * probability.clamp_min(smallest).log()).sum(dim)


def gate_instance_sharpening(gates: Tensor) -> Tensor:
    """Mean entropy of each point's gate (Eq. 4), for gates (B, K, ...); returns a scalar in [0, ln K]."""
    return entropy(gates, dim=1).mean()


def mean_gate(gates: Tensor) -> Tensor:
    """Mean of each learner's gate over batch and points, (B, K, ...) to (K,)."""
    return gates.transpose(0, 1).flatten(1).mean(dim=1)


def gate_expectation_smoothing(gates: Tensor) -> Tensor:
    """Minus the entropy of the mean gate (Eq. 5), for gates (B, K, ...); returns a scalar in [-ln K, 0]."""
    return -entropy(mean_gate(gates), dim=0)
