"""Segmentation losses of the paper's protocols. All take ``input`` logits and ``target`` labels of one size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CrossEntropyDiceLoss(nn.Module):
    """Cross-entropy and Dice in equal parts, as TransUNet trains on Synapse.

    L = w_ce CE + w_dice mean_c (1 - (2 Σ p t + s) / (Σ p² + Σ t² + s)): sums over the whole batch, mean over all
    classes, background included, s = 1e-5.

    Args:
        ce_weight: w_ce.
        dice_weight: w_dice.
        smooth: s.
        ignore_index: label whose pixels do not count; none by default.
    """

    def __init__(
        self, ce_weight: float = 0.5, dice_weight: float = 0.5, smooth: float = 1e-5, ignore_index: int | None = None
    ) -> None:
        super().__init__()
        self.ce_weight, self.dice_weight, self.smooth = ce_weight, dice_weight, smooth
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare logits ``input`` (B, C, H, W) with class indices ``target`` (B, 1, H, W); returns a scalar."""
        index = target.squeeze(1).long()
        probability = input.softmax(dim=1)  # (B, C, H, W)
        if self.ignore_index is None:
            cross_entropy = F.cross_entropy(input, index)
            one_hot = F.one_hot(index, input.shape[1]).permute(0, 3, 1, 2).to(probability.dtype)
        else:
            counts = index != self.ignore_index  # (B, H, W)
            index = index.where(counts, 0)
            pixel_loss = F.cross_entropy(input, index, reduction="none")
            cross_entropy = (pixel_loss * counts).sum() / counts.sum().clamp_min(1)
            one_hot = F.one_hot(index, input.shape[1]).permute(0, 3, 1, 2).to(probability.dtype) * counts[:, None]
            probability = probability * counts[:, None]
        over = (0, 2, 3)
        intersection = (probability * one_hot).sum(over)  # (C,)
        cardinality = probability.square().sum(over) + one_hot.sum(over)  # (C,); a one-hot is its own square
        dice = (2 * intersection + self.smooth) / (cardinality + self.smooth)
        return self.ce_weight * cross_entropy + self.dice_weight * (1 - dice).mean()


class BoundaryWeightedLoss(nn.Module):
    """Weighted binary cross-entropy plus weighted IoU, pixels near a boundary weighing more.

    w = 1 + 5 |mean_31(t) - t|, where mean_31 is the mean over a 31×31 window inside the image; per image
    Σ w BCE / Σ w + 1 - (Σ w p t + 1) / (Σ w (p + t - p t) + 1), then the mean over the batch. The loss family that the
    paper's neighbours on GlaS train with; the paper's own is not published.

    Args:
        kernel_size: side of the window in pixels, odd.
        boundary_weight: extra weight on a boundary pixel.
        ignore_index: label whose pixels weigh nothing; none by default. To its neighbours it is background.

    Raises:
        ValueError: an even ``kernel_size``.
    """

    def __init__(self, kernel_size: int = 31, boundary_weight: float = 5.0, ignore_index: int | None = None) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}.")
        self.kernel_size, self.boundary_weight = kernel_size, boundary_weight
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare logits ``input`` (B, 1, H, W) with a binary mask ``target`` (B, 1, H, W); returns a scalar."""
        counts = None if self.ignore_index is None else target != self.ignore_index
        target = (target if counts is None else target.where(counts, 0)).to(input.dtype)
        local_mean = target
        for kernel in ((self.kernel_size, 1), (1, self.kernel_size)):  # a mean of means: windows are rectangles
            padding = (kernel[0] // 2, kernel[1] // 2)
            local_mean = F.avg_pool2d(local_mean, kernel, stride=1, padding=padding, count_include_pad=False)
        weight = 1 + self.boundary_weight * (local_mean - target).abs()
        weight = weight if counts is None else weight * counts
        over = (1, 2, 3)
        pixel_loss = F.binary_cross_entropy_with_logits(input, target, reduction="none")
        cross_entropy = (weight * pixel_loss).sum(over) / weight.sum(over).clamp_min(1)  # (B,); all ignored: 0
        probability = torch.sigmoid(input)
        overlap = probability * target
        intersection = (weight * overlap).sum(over)
        union = (weight * (probability + target - overlap)).sum(over)
        return (cross_entropy + 1 - (intersection + 1) / (union + 1)).mean()


def segmentation_loss(out_channels: int, binary: nn.Module, multiclass: nn.Module) -> nn.Module:
    """The loss that fits a network's logits; for configurations that serve any number of classes.

    Args:
        out_channels: channels of the logits.
        binary: loss of one channel, a sigmoid.
        multiclass: loss of one channel per class.
    """
    return binary if out_channels == 1 else multiclass
