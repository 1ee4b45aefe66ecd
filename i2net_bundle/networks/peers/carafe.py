"""CARAFE (Wang et al., ICCV 2019): upsampling with a kernel that is predicted for every output point."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle.networks.peers.blocks import conv_bn_relu, resize_like

KERNEL = 5
"""Side of the neighbourhood that is reassembled."""


class Carafe(nn.Module):
    """Double the size of a map: each output point is a weighted mean of 5×5 source points.

    Args:
        channels: of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.compress = nn.Conv2d(channels, 64, kernel_size=1)
        self.kernels = nn.Conv2d(64, 4 * KERNEL**2, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Upsample (B, C, H, W) to (B, C, 2H, 2W)."""
        kernels = F.pixel_shuffle(self.kernels(self.compress(x)), 2).softmax(dim=1)  # (B, 25, 2H, 2W)
        return reassemble(x, kernels)


def reassemble(x: Tensor, kernels: Tensor) -> Tensor:
    """Weight the 5×5 neighbourhood of the source of every output point, as one matrix product per source point.

    The neighbourhoods take 25 times the memory of ``x``.

    Args:
        x: map (B, C, H, W).
        kernels: weights (B, 25, 2H, 2W), neighbourhoods row by row.

    Returns:
        (B, C, 2H, 2W); points outside the map count as 0.
    """
    batch, channels, height, width = x.shape
    points = batch * height * width
    padded = F.pad(x, [KERNEL // 2] * 4).permute(0, 2, 3, 1)  # (B, H + 4, W + 4, C)
    places = itertools.product(range(KERNEL), range(KERNEL))
    neighbours = torch.stack([padded[:, i : i + height, j : j + width] for i, j in places], dim=3)  # (B, H, W, 25, C)
    weights = kernels.view(batch, KERNEL**2, height, 2, width, 2).permute(0, 2, 4, 3, 5, 1)  # (B, H, W, 2, 2, 25)
    values = torch.bmm(weights.reshape(points, 4, KERNEL**2), neighbours.view(points, KERNEL**2, channels))
    values = values.view(batch, height, width, 2, 2, channels).permute(0, 5, 1, 3, 2, 4)  # (B, C, H, 2, W, 2)
    return values.reshape(batch, channels, 2 * height, 2 * width)


class CarafeDecoder(nn.Module):
    """The paper's "CARAFE++" row, as the chain of its "deconvolution" row.

    It meets both of the paper's Synapse counts; so do other structures. On GlaS its parameters are 0.9 % above and its
    operations 23 % below the paper's.

    Args:
        level_channels: channels of the levels, fine to coarse.
        out_channels: channels of the decoded map.
        join_finest: whether the finest level is joined again before the last convolution (Synapse); on GlaS the head
            joins the stem instead.
    """

    def __init__(self, level_channels: Sequence[int], out_channels: int, join_finest: bool) -> None:
        super().__init__()
        self.up = nn.ModuleList(
            nn.Sequential(Carafe(coarse), conv_bn_relu(coarse, fine, 3), conv_bn_relu(fine, fine, 3))
            for coarse, fine in itertools.pairwise(reversed(level_channels))
        )
        finest = level_channels[0]
        self.smooth = nn.Conv2d(finest, 64 if join_finest else out_channels, kernel_size=7, padding=3)
        self.conv = nn.Conv2d(64 + finest, out_channels, kernel_size=1) if join_finest else None

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Decode levels (B, C_i, H_i, W_i) to (B, out_channels, H_1, W_1)."""
        y = levels[-1]
        for index, up in enumerate(self.up):
            finer = levels[-2 - index]
            y = resize_like(up(y), finer) + finer
        y = self.smooth(y)
        return y if self.conv is None else self.conv(torch.cat([y, levels[0]], dim=1))
