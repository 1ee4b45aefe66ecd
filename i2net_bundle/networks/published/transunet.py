"""TransUNet: a vision transformer between a ResNet and a cascaded upsampler."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle.networks.encoders import ResNetEncoder
from i2net_bundle.networks.peers.blocks import conv_bn_relu
from i2net_bundle.networks.published.vit import ViTEncoder

_WIDTHS = (512, 256, 128, 64, 16)


class TransUNet(nn.Module):
    """TransUNet (Chen et al. 2021), R50-ViT with three skip connections.

    Its ResNet is torchvision's ResNet-50 up to 1/16. The published one has group normalisation and nine blocks in the
    third stage.

    Args:
        in_channels: image channels.
        out_channels: number of classes, or 1 for a sigmoid.
        grid: rows and columns of the learned positions.
        num_layers: number of transformer blocks.
    """

    def __init__(
        self, in_channels: int = 1, out_channels: int = 9, grid: Sequence[int] = (14, 14), num_layers: int = 12
    ) -> None:
        super().__init__()
        self.encoder = ResNetEncoder(depth=50, in_channels=in_channels)
        self.encoder.layer4 = nn.Identity()  # type: ignore[assignment]  # the transformer takes its place
        self.transformer = ViTEncoder(self.encoder.level_channels[2], 1, grid, num_layers=num_layers)
        self.enter = conv_bn_relu(self.transformer.out_channels, _WIDTHS[0], kernel=3)
        skips = (self.encoder.level_channels[1], self.encoder.level_channels[0], self.encoder.skip_channels, 0)
        self.decoder = nn.ModuleList(
            nn.Sequential(conv_bn_relu(before + skip, after, kernel=3), conv_bn_relu(after, after, kernel=3))
            for (before, after), skip in zip(pairwise(_WIDTHS), skips, strict=True)
        )
        self.head = nn.Conv2d(_WIDTHS[-1], out_channels, kernel_size=3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Segment an image (B, C, H, W), whose sides 16 divides: logits (B, O, H, W)."""
        stem, levels = self.encoder(image)
        x = self.enter(self.transformer(levels[2]))
        for block, skip in zip(self.decoder, (levels[1], levels[0], stem, None), strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(x if skip is None else torch.cat([x, skip], dim=1))
        logits: Tensor = self.head(x)
        return logits
