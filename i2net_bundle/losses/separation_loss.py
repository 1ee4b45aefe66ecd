"""The loss of the channel that separates glands."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle.losses.over_processes import mean_over_processes
from i2net_bundle.transforms.separation_targets import separates


class SeparationLoss(nn.Module):
    """Compare the logit that separates glands with its target, see `i2net_bundle.transforms.separation_targets`.

    For targets of 0 and 1, contours and markers, it is the mean cross-entropy plus 1 - (2 Σ p t + 1) / (Σ p + Σ t + 1);
    the sums run over an image, the mean over the batch. For distances, it is the mean cross-entropy less that of a
    perfect prediction, i.e. the Kullback-Leibler divergence, so its least value is 0.

    Args:
        separation: "contour", "distance" or "marker".

    Raises:
        ValueError: there is no such separation.
    """

    def __init__(self, separation: str) -> None:
        super().__init__()
        if not separates(separation):
            raise ValueError("There is no loss for separation 'none'. Leave it out.")
        self.is_graded = separation == "distance"

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare logits ``input`` (B, 1, H, W) with ``target`` (B, 1, H, W), from 0 to 1; returns a scalar."""
        target = target.to(input.dtype)
        cross_entropy = F.binary_cross_entropy_with_logits(input, target)
        if self.is_graded:
            entropy = torch.special.entr(target) + torch.special.entr(1 - target)
            return mean_over_processes(cross_entropy - entropy.mean(), len(input))
        probability, over = input.sigmoid(), (1, 2, 3)
        overlap, total = (probability * target).sum(over), (probability + target).sum(over)
        return mean_over_processes(cross_entropy + (1 - (2 * overlap + 1) / (total + 1)).mean(), len(input))
