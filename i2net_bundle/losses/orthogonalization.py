"""Learner orthogonalization (Eq. 6): pushes the loss gradients of the learners towards different directions.

The penalty is a function of gradients, so its own gradient is second-order. It does not depend on the scale of the
segmentation loss. With data parallelism, every rank penalises its own gradients: the mean of the penalties, not the
penalty of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

LearnerParameters = Sequence[tuple[Tensor, Tensor]]
"""Weight (K, O, C) and bias (K, O) of every I²Layer."""


def learner_gradients(loss: Tensor, learners: LearnerParameters) -> list[Tensor]:
    """Gradient of the loss with respect to every learner, which can be differentiated again.

    Args:
        loss: segmentation loss, a scalar.
        learners: parameters of each layer.

    Returns:
        one (K, D) per layer, D = O·C + O.
    """
    leaves = [parameter for layer in learners for parameter in layer]
    gradients = torch.autograd.grad(loss, leaves, create_graph=True)
    return flatten_learners(list(zip(gradients[::2], gradients[1::2], strict=True)))


def flatten_learners(layers: LearnerParameters) -> list[Tensor]:
    """Weight and bias of each learner as one vector: one (K, D) per layer."""
    return [torch.cat([weight.flatten(1), bias], dim=1) for weight, bias in layers]


def learner_cosines(gradients: Sequence[Tensor]) -> Tensor:
    """Cosine between the gradients of every pair of learners i < j, (layers, pairs)."""
    cosines = []
    for gradient in gradients:
        unit = F.normalize(gradient, dim=1)
        row, col = torch.triu_indices(len(unit), len(unit), offset=1, device=unit.device)
        cosines.append((unit @ unit.t())[row, col])
    return torch.stack(cosines)


def learner_orthogonalization(cosines: Tensor, num_learners: int) -> Tensor:
    """Σ over layers of Σ_{i<j} cos² / (K (K - 1)), Eq. 6.

    Args:
        cosines: (layers, pairs) of `learner_cosines`.
        num_learners: K.

    Returns:
        a scalar, 0 for a single learner.
    """
    if num_learners == 1:
        return cosines.sum()
    return cosines.square().sum() / (num_learners * (num_learners - 1))
