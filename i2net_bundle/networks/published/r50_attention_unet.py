"""Attention U-Net on ResNet-50, the "R50 AttnUNet" of TransUNet's and the paper's tables."""

from __future__ import annotations

from itertools import pairwise

import torch
from monai.networks.nets.attentionunet import AttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle.networks.encoders import ResNetEncoder
from i2net_bundle.networks.peers.blocks import conv_bn_relu

_WIDTHS = (256, 128, 64, 32, 16)


class R50AttentionUNet(nn.Module):
    """ResNet-50 and a U-Net decoder whose skip features pass attention gates (Oktay et al. 2018).

    TransUNet does not describe its decoder. This one has the widths of MONAI's ``FlexibleUNet``.

    Args:
        in_channels: image channels.
        out_channels: number of classes, or 1 for a sigmoid.
    """

    def __init__(self, in_channels: int = 1, out_channels: int = 9) -> None:
        super().__init__()
        self.encoder = ResNetEncoder(depth=50, in_channels=in_channels)
        skips = (*reversed(self.encoder.level_channels[:3]), self.encoder.skip_channels)
        self.up, self.gates, self.joined = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        steps = pairwise((self.encoder.level_channels[3], *_WIDTHS[:4]))
        for (before, width), skip in zip(steps, skips, strict=True):
            self.up.append(conv_bn_relu(before, width, kernel=3))
            self.gates.append(AttentionBlock(spatial_dims=2, f_int=max(width // 2, 8), f_g=width, f_l=skip))
            self.joined.append(_double_conv(width + skip, width))
        self.last = _double_conv(_WIDTHS[3], _WIDTHS[4])
        self.head = nn.Conv2d(_WIDTHS[4], out_channels, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Segment an image (B, C, H, W), whose sides 32 divides: logits (B, O, H, W)."""
        stem, levels = self.encoder(image)
        x = levels[3]
        skips = (*reversed(levels[:3]), stem)
        for up, gate, joined, skip in zip(self.up, self.gates, self.joined, skips, strict=True):
            x = up(_doubled(x))
            x = joined(torch.cat([gate(x, skip), x], dim=1))
        logits: Tensor = self.head(self.last(_doubled(x)))
        return logits


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(conv_bn_relu(in_channels, out_channels, 3), conv_bn_relu(out_channels, out_channels, 3))
