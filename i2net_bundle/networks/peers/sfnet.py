"""SFNet (Li et al., ECCV 2020): a feature pyramid whose coarser maps are warped along a predicted flow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from i2net_bundle.networks.peers.blocks import conv_bn_relu, resize_like, warp

WIDTH = 256


class FlowAlignment(nn.Module):
    """Warp a coarser map onto a finer one, along the flow that both predict."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(WIDTH, 128, kernel_size=1, bias=False)
        self.coarse = nn.Conv2d(WIDTH, 128, kernel_size=1, bias=False)
        self.flow = nn.Conv2d(256, 2, kernel_size=3, padding=1, bias=False)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Align ``coarse`` (B, 256, h, w) to ``fine`` (B, 256, H, W)."""
        height, width = fine.shape[2], fine.shape[3]
        projected = resize_like(self.coarse(coarse), fine, align_corners=True)
        flow = self.flow(torch.cat([self.fine(fine), projected], dim=1))  # (B, 2, H, W), in pixels
        return warp(resize_like(coarse, fine, align_corners=True), flow, (float(width), float(height)))


class AtrousPyramid(nn.Module):
    """Context of the coarsest level at several dilations and over the whole image (ASPP).

    Args:
        in_channels: channels of the level.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, WIDTH, kernel_size=1), nn.ReLU())
        self.point = conv_bn_relu(in_channels, WIDTH, 1)
        self.dilated = nn.ModuleList(conv_bn_relu(in_channels, WIDTH, 3, dilation) for dilation in (12, 24, 36))
        self.join = conv_bn_relu(5 * WIDTH, WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 256, H, W)."""
        maps = [self.image(x).expand(-1, -1, x.shape[2], x.shape[3]), self.point(x)]
        for branch in self.dilated:
            maps.append(branch(x))
        return self.join(torch.cat(maps, dim=1))


class SFNetDecoder(nn.Module):
    """The paper's "SFNet" row, without deep supervision.

    A coarsest level of another width than 256 passes an `AtrousPyramid` first, which the paper's GlaS parameters
    suggest. Every aligned map passes a 3×3 convolution, as published; without it, the GlaS operations would match.

    Args:
        level_channels: channels of the levels, fine to coarse.
        out_channels: channels of the decoded map.
    """

    def __init__(self, level_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        *finer, coarsest = level_channels
        self.top = nn.Identity() if coarsest == WIDTH else AtrousPyramid(coarsest)
        self.laterals = nn.ModuleList(conv_bn_relu(channels, WIDTH, 1, bias=True) for channels in finer)
        self.alignments = nn.ModuleList(FlowAlignment() for _ in finer)
        self.outputs = nn.ModuleList(conv_bn_relu(WIDTH, WIDTH, 3) for _ in finer)
        self.join = conv_bn_relu(len(level_channels) * WIDTH, WIDTH, 3)
        self.conv = nn.Conv2d(WIDTH, out_channels, kernel_size=1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Decode levels (B, C_i, H_i, W_i) to (B, out_channels, H_1, W_1)."""
        y = self.top(levels[-1])
        maps = [y]
        for index in range(len(levels) - 2, -1, -1):
            lateral = self.laterals[index](levels[index])
            y = lateral + self.alignments[index](lateral, y)
            maps.insert(0, self.outputs[index](y))
        resized = [resize_like(item, levels[0], align_corners=True) for item in maps]
        return self.conv(self.join(torch.cat(resized, dim=1)))
