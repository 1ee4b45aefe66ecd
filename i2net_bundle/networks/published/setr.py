"""SETR-PUP: a vision transformer and progressive upsampling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from i2net_bundle.networks.peers.blocks import conv_bn_relu
from i2net_bundle.networks.published.vit import ViTEncoder


class SETRPUP(nn.Module):
    """SETR with progressive upsampling (Zheng et al. 2021, section 3.2), on ViT-Base as in the paper's Table 2.

    Args:
        in_channels: image channels.
        out_channels: number of classes, or 1 for a sigmoid.
        width: width of the decoder.
        grid: rows and columns of the learned positions.
        num_layers: number of transformer blocks.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        width: int = 256,
        grid: Sequence[int] = (14, 14),
        num_layers: int = 12,
    ) -> None:
        super().__init__()
        self.encoder = ViTEncoder(in_channels, 16, grid, num_layers=num_layers)
        blocks: list[nn.Module] = []
        for number in range(4):
            blocks.append(conv_bn_relu(self.encoder.out_channels if number == 0 else width, width, kernel=3))
            blocks.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
        self.decoder = nn.Sequential(*blocks)
        self.head = nn.Conv2d(width, out_channels, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Segment an image (B, C, H, W), whose sides 16 divides: logits (B, O, H, W)."""
        logits: Tensor = self.head(self.decoder(self.encoder(image)))
        return logits
