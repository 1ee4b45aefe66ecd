"""CE-Net: ResNet-34 with dense atrous convolutions and residual multi-kernel pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle.networks.encoders import ResNetEncoder

_POOLS = (2, 3, 5, 6)


class CENet(nn.Module):
    """Context encoder network (Gu et al. 2019).

    Args:
        in_channels: image channels.
        out_channels: number of classes, or 1 for a sigmoid.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 1) -> None:
        super().__init__()
        self.encoder = ResNetEncoder(depth=34, in_channels=in_channels)
        *_, coarsest = widths = self.encoder.level_channels
        self.atrous = DenseAtrousConvolution(coarsest)
        self.pooling = ResidualMultiKernelPooling(coarsest)
        steps = [(coarsest + len(_POOLS), widths[2]), (widths[2], widths[1]), (widths[1], widths[0]), (widths[0],) * 2]
        self.decoder = nn.ModuleList(_decoder_block(before, after) for before, after in steps)
        self.head = nn.Sequential(
            nn.ConvTranspose2d(widths[0], 32, kernel_size=4, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, out_channels, kernel_size=3, padding=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Segment an image (B, C, H, W), whose sides 32 divides: logits (B, O, H, W)."""
        _, levels = self.encoder(image)
        x = self.pooling(self.atrous(levels[3]))
        for block, level in zip(self.decoder, reversed(levels[:3]), strict=False):
            x = block(x) + level
        logits: Tensor = self.head(self.decoder[3](x))
        return logits


class DenseAtrousConvolution(nn.Module):
    """Four branches of dilated convolutions with receptive fields of 3, 7, 9 and 19 cells, added to the input.

    The branches share the layers that they have in common.

    Args:
        channels: channels of the input and the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rate1, self.rate3, self.rate5 = (
            nn.Conv2d(channels, channels, kernel_size=3, padding=rate, dilation=rate) for rate in (1, 3, 5)
        )
        self.last = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        near = self.rate1(x)
        middle = self.rate3(near)
        branches = (near, self.last(self.rate3(x)), self.last(middle), self.last(self.rate5(middle)))
        return x + sum(torch.relu(branch) for branch in branches)


class ResidualMultiKernelPooling(nn.Module):
    """Maximum pooling over 2, 3, 5 and 6 cells, each reduced to one channel, resized and concatenated to the input.

    Cells at the border that do not fill a window are pooled too, so that any size can be pooled.

    Args:
        channels: channels of the input; the output has four more.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.MaxPool2d(side, ceil_mode=True) for side in _POOLS)
        self.reduce = nn.Conv2d(channels, 1, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C + 4, H, W)."""
        size = (x.shape[2], x.shape[3])
        pooled = [F.interpolate(self.reduce(pool(x)), size=size, mode="bilinear") for pool in self.pools]
        return torch.cat([x, *pooled], dim=1)


def _decoder_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """1×1 convolution to a quarter of the channels, transposed 3×3 convolution of stride 2, 1×1 convolution."""
    narrow = in_channels // 4
    return nn.Sequential(
        nn.Conv2d(in_channels, narrow, kernel_size=1),
        nn.BatchNorm2d(narrow),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(narrow, narrow, kernel_size=3, stride=2, padding=1, output_padding=1),
        nn.BatchNorm2d(narrow),
        nn.ReLU(inplace=True),
        nn.Conv2d(narrow, out_channels, kernel_size=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
