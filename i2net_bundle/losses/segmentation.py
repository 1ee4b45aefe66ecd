"""Segmentation losses of the paper's protocols. Logits (``input``) and labels (``target``) have the same size."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle.losses.over_processes import mean_over_processes, sum_over_processes


class CrossEntropyDiceLoss(nn.Module):
    """Cross-entropy and Dice in equal parts, TransUNet's loss for Synapse.

    L = w_ce CE + w_dice mean_c (1 - (2 Σ p t + s) / (Σ p² + Σ t² + s)). The sums run over the whole batch, the mean
    over all classes including the background. With several processes, the batch is that of all of them.

    Args:
        ce_weight: w_ce.
        dice_weight: w_dice.
        smooth: s.
        ignore_index: label of pixels that neither term counts.
    """

    def __init__(
        self,
        ce_weight: float = 0.5,
        dice_weight: float = 0.5,
        smooth: float = 1e-5,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        self.ce_weight, self.dice_weight, self.smooth = ce_weight, dice_weight, smooth
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare logits ``input`` (B, C, H, W) with class indices ``target`` (B, 1, H, W); returns a scalar."""
        index, counted = _counted(target, self.ignore_index)  # (B, H, W), (B, 1, H, W) or None
        probability = input.softmax(dim=1)  # (B, C, H, W)
        one_hot = F.one_hot(index, input.shape[1]).permute(0, 3, 1, 2).to(probability.dtype)
        if counted is None:
            number = input.new_tensor(index.numel())
            cross_entropy = F.cross_entropy(input, index)
        else:
            pixel_loss = F.cross_entropy(input, index, reduction="none")
            number = counted.sum()
            cross_entropy = (pixel_loss * counted[:, 0]).sum() / number.clamp_min(1)
            probability, one_hot = probability * counted, one_hot * counted
        over = (0, 2, 3)
        intersection = (probability * one_hot).sum(over)  # (C,)
        cardinality = probability.square().sum(over) + one_hot.sum(over)  # (C,); a one-hot is its own square
        intersection, cardinality = sum_over_processes(torch.stack([intersection, cardinality]))
        dice = (2 * intersection + self.smooth) / (cardinality + self.smooth)
        cross_entropy = mean_over_processes(cross_entropy, number)
        return self.ce_weight * cross_entropy + self.dice_weight * (1 - dice).mean()


class BoundaryWeightedLoss(nn.Module):
    """Weighted cross-entropy plus weighted IoU loss, with larger weights near boundaries.

    The weight of a pixel is w = 1 + 5 |mean_31(t) - t|, where mean_31 is the mean over a 31×31 window, clipped to the
    image. The loss of an image is Σ w CE / Σ w + 1 - (Σ w p t + 1) / (Σ w (p + t - p t) + 1); the batch takes the mean.
    With one logit, p is a sigmoid and t is binary. With several, p is a softmax, |mean_31(t) - t| is that of the true
    class, and the IoU is averaged over the classes. Other methods that are compared on GlaS use losses of this kind.
    The paper's own loss is not published. With several processes, the batch is that of all of them.

    Args:
        kernel_size: side of the window in pixels, odd.
        boundary_weight: extra weight of a pixel on a boundary.
        ignore_index: label of pixels that neither the sums nor the windows count.

    Raises:
        ValueError: ``kernel_size`` is even.
    """

    def __init__(self, kernel_size: int = 31, boundary_weight: float = 5.0, ignore_index: int | None = None) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}.")
        self.kernel_size, self.boundary_weight, self.ignore_index = kernel_size, boundary_weight, ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare logits with labels; returns a scalar.

        Args:
            input: logits (B, 1, H, W) for two classes, or (B, C, H, W).
            target: class indices (B, 1, H, W).
        """
        index, counted = _counted(target, self.ignore_index)
        if input.shape[1] == 1:
            truth = index[:, None].to(input.dtype)  # (B, 1, H, W)
            distance = (self._local_mean(truth, counted) - truth).abs()
            pixel_loss = F.binary_cross_entropy_with_logits(input, truth, reduction="none")
            probability = torch.sigmoid(input)
        else:
            truth = F.one_hot(index, input.shape[1]).permute(0, 3, 1, 2).to(input.dtype)  # (B, C, H, W)
            own_share = (self._local_mean(truth, counted) * truth).sum(dim=1, keepdim=True)
            distance = 1 - own_share
            pixel_loss = F.cross_entropy(input, index, reduction="none")[:, None]
            probability = input.softmax(dim=1)
        weight = 1 + self.boundary_weight * distance  # (B, 1, H, W)
        if counted is not None:
            weight = weight * counted
        total_weight = weight.sum((1, 2, 3))
        cross_entropy = (weight * pixel_loss).sum((1, 2, 3)) / total_weight.clamp_min(1)  # (B,)
        overlap = probability * truth
        intersection = (weight * overlap).sum((2, 3))  # (B, 1) or (B, C)
        union = (weight * (probability + truth - overlap)).sum((2, 3))
        iou = (intersection + 1) / (union + 1)
        return mean_over_processes((cross_entropy + 1 - iou.mean(dim=1)).mean(), len(input))

    def _local_mean(self, truth: Tensor, counted: Tensor | None) -> Tensor:
        """Mean of (B, C, H, W) over the counted pixels in the window around each pixel."""
        if counted is None:
            return self._window(truth)
        return self._window(truth * counted) / self._window(counted).clamp_min(1e-6)

    def _window(self, values: Tensor) -> Tensor:
        for kernel in ((self.kernel_size, 1), (1, self.kernel_size)):  # windows are rectangles, so the mean separates
            padding = (kernel[0] // 2, kernel[1] // 2)
            values = F.avg_pool2d(values, kernel, stride=1, padding=padding, count_include_pad=False)
        return values


class OhemCrossEntropyLoss(nn.Module):
    """Cross-entropy of the hardest pixels: online hard example mining, as Cityscapes' recipes use it.

    A pixel is hard if the probability of its true class is below ``threshold``. The loss is the mean cross-entropy over
    the hard pixels of a batch, and over at least its ``min_kept`` hardest ones. Pixels that are as hard as the last of
    these count too, so the loss does not depend on their order. With fewer pixels than ``min_kept``, all count. With
    several processes, each selects from its own batch.

    Source: Shrivastava et al., Training Region-based Object Detectors with Online Hard Example Mining, CVPR 2016, for
    the selection by loss.

    Args:
        threshold: probability of the true class from which a pixel is not hard, in (0, 1].
        min_kept: number of pixels that count at least.
        ignore_index: label of pixels that do not count.

    Raises:
        ValueError: ``threshold`` is outside (0, 1], or ``min_kept`` is negative.
    """

    def __init__(self, threshold: float = 0.7, min_kept: int = 100_000, ignore_index: int | None = None) -> None:
        super().__init__()
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be a probability above 0 and at most 1, got {threshold}.")
        if min_kept < 0:
            raise ValueError(f"min_kept must not be negative, got {min_kept}.")
        self.threshold, self.min_kept, self.ignore_index = threshold, min_kept, ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare logits ``input`` (B, C, H, W) with class indices ``target`` (B, 1, H, W); returns a scalar."""
        index, counted = _counted(target, self.ignore_index)
        pixel_loss = F.cross_entropy(input, index, reduction="none")  # (B, H, W)
        hardness = pixel_loss.detach()
        if counted is not None:
            hardness = hardness.masked_fill(counted[:, 0] == 0, -math.inf)
        hard = hardness > -math.log(self.threshold)
        num_least = min(self.min_kept, hardness.numel())
        if num_least:
            hard |= (hardness >= hardness.flatten().topk(num_least).values[-1]) & (hardness > -math.inf)
        return (pixel_loss * hard).sum() / hard.sum().clamp_min(1)


def _counted(target: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor | None]:
    """Class indices (B, H, W), 0 at ignored pixels, and a mask of counted pixels (B, 1, H, W), or None if all count."""
    index = target.squeeze(1).long()
    if ignore_index is None:
        return index, None
    counted = index != ignore_index
    return index * counted, counted[:, None].float()
