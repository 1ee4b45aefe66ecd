"""Resize every level to the finest one, concatenate, and classify with one 1×1 convolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from i2net_bundle.networks.peers.blocks import resize_like


class ResizingDecoder(nn.Module):
    """The paper's "bilinear" and "nearest" rows.

    Args:
        level_channels: channels of the levels, fine to coarse.
        out_channels: channels of the decoded map.
        mode: "bilinear" or "nearest".
    """

    def __init__(self, level_channels: Sequence[int], out_channels: int, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.conv = nn.Conv2d(sum(level_channels), out_channels, kernel_size=1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Decode levels (B, C_i, H_i, W_i) to (B, out_channels, H_1, W_1)."""
        return self.conv(torch.cat([resize_like(level, levels[0], self.mode) for level in levels], dim=1))
