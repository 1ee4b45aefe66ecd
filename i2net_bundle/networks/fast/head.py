"""The head, applied on the grid of the decoded map."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from i2net_bundle.networks.heads import SkipHead, resize


class FastSkipHead(SkipHead):
    """A `SkipHead` that maps the decoded features to classes before resizing them, and needs no concatenation.

    A 1×1 convolution of concatenated inputs is the sum of the convolutions of each input. It commutes with a resize,
    because the weights of a resize sum to 1.
    """

    def forward(self, skip: Tensor, decoded: Tensor) -> Tensor:
        """Map skip (B, S, h, w) and decoded (B, D, H, W) to logits (B, O, h, w)."""
        of_skip, of_decoded = self.conv.weight.split([skip.shape[1], decoded.shape[1]], dim=1)
        logits = resize(pointwise(decoded, of_decoded), skip.shape[2], skip.shape[3])
        return pointwise(skip, of_skip, self.conv.bias) + logits


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """1×1 convolution of (B, C, H, W) by weight (O, C, 1, 1) and bias (O,).

    For channels-last maps it is computed as a matrix product. With few classes, the backward pass then takes a quarter
    of the time of oneDNN's convolution.
    """
    if not x.is_contiguous(memory_format=torch.channels_last):
        return F.conv2d(x, weight, bias)
    return F.linear(x.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)
