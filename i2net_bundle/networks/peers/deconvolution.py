"""Transposed convolutions that double the size and add the next finer level."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from i2net_bundle.networks.peers.blocks import resize_like


class DeconvolutionDecoder(nn.Module):
    """The paper's "deconvolution" row.

    Args:
        level_channels: channels of the levels, fine to coarse.
        out_channels: channels of the decoded map.
    """

    def __init__(self, level_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.up = nn.ModuleList(
            nn.Sequential(_bilinear_deconvolution(coarse, fine), nn.BatchNorm2d(fine), nn.ReLU(inplace=True))
            for coarse, fine in itertools.pairwise(reversed(level_channels))
        )
        self.conv = nn.Conv2d(level_channels[0], out_channels, kernel_size=7, padding=3, bias=False)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Decode levels (B, C_i, H_i, W_i) to (B, out_channels, H_1, W_1)."""
        y = levels[-1]
        for index, up in enumerate(self.up):
            finer = levels[-2 - index]
            y = resize_like(up(y), finer) + finer
        return self.conv(y)


def _bilinear_deconvolution(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """Create a transposed convolution that starts as bilinear interpolation of matching channels."""
    layer = nn.ConvTranspose2d(
        in_channels, out_channels, kernel_size=3, stride=2, padding=1, output_padding=1, bias=False
    )
    side = torch.tensor([0.5, 1.0, 0.5])
    with torch.no_grad():
        layer.weight.zero_()
        for channel in range(min(in_channels, out_channels)):
            layer.weight[channel, channel] = side[:, None] * side[None, :]
    return layer
