"""Heads: they map the encoder's skip feature and the decoded map to logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SkipHead(nn.Module):
    """Resize the decoded map to the skip feature, concatenate both (skip first), and apply a 1×1 convolution.

    Args:
        skip_channels: channels of the skip feature.
        decoded_channels: channels of the decoded map.
        out_channels: number of classes, or 1 for a sigmoid.
    """

    def __init__(self, skip_channels: int, decoded_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(skip_channels + decoded_channels, out_channels, kernel_size=1)

    def forward(self, skip: Tensor, decoded: Tensor) -> Tensor:
        """Map skip (B, S, h, w) and decoded (B, D, H, W) to logits (B, O, h, w)."""
        decoded = resize(decoded, skip.shape[2], skip.shape[3])
        return self.conv(torch.cat([skip, decoded.to(skip.dtype)], dim=1))


class DecodedHead(nn.Module):
    """Use the decoded map as logits (Cityscapes)."""

    def forward(self, skip: Tensor, decoded: Tensor) -> Tensor:
        """Return ``decoded``, ignoring ``skip``."""
        return decoded


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """Resize (B, C, H, W) to height × width bilinearly, aligning cell areas (``align_corners=False``)."""
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
