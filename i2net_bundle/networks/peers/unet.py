"""U-Nets: the last convolution of a bilinear one, and a nearest-neighbour one on a ResNet."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from i2net_bundle.networks.encoders import ResNetEncoder
from i2net_bundle.networks.peers.blocks import conv_bn_relu, resize_like


class FinestLevel(nn.Module):
    """Classify the finest level of a whole U-Net with a 1×1 convolution.

    Args:
        in_channels: channels of the level.
        out_channels: number of classes, or 1 for a sigmoid.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Map the finest of the levels (B, C_1, H, W) to (B, out_channels, H, W)."""
        return self.conv(levels[0])


class ResNetUNet(nn.Module):
    """U-Net on a ResNet, the paper's "U-Net" row of GlaS.

    Its up blocks have 256, 128, 64, 32 and 16 channels. The paper prints half of its operations at 512².

    Args:
        encoder: an image to the stem's map and four levels.
        out_channels: number of classes, or 1 for a sigmoid.
    """

    def __init__(self, encoder: ResNetEncoder, out_channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        widths = (encoder.level_channels[-1], 256, 128, 64, 32, 16)
        joined = (*reversed(encoder.level_channels[:-1]), encoder.skip_channels, 0)
        self.up = nn.ModuleList(
            nn.Sequential(conv_bn_relu(coarse + skip, fine, 3), conv_bn_relu(fine, fine, 3))
            for (coarse, fine), skip in zip(itertools.pairwise(widths), joined, strict=True)
        )
        self.conv = nn.Conv2d(widths[-1], out_channels, kernel_size=3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Segment an image (B, C, H, W): logits (B, O, H, W)."""
        stem, levels = self.encoder(image)
        y = levels[-1]
        skips = [levels[2], levels[1], levels[0], stem]
        for index, up in enumerate(self.up):
            if index < len(skips):
                y = torch.cat([resize_like(y, skips[index], "nearest"), skips[index]], dim=1)
            else:
                y = resize_like(y, image, "nearest")
            y = up(y)
        return self.conv(y)
