"""The neck, which brings all encoder levels to one width."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Neck(nn.Module):
    """Project every encoder level to one width: 1×1 convolution, batch normalisation, ReLU.

    Args:
        in_channels: channels of each level.
        out_channels: common width.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int = 64) -> None:
        super().__init__()
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, out_channels, kernel_size=1), nn.BatchNorm2d(out_channels), nn.ReLU())
            for width in in_channels
        )
        self.out_channels = (out_channels,) * len(in_channels)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Map levels (B, C_i, H_i, W_i) to (B, out_channels, H_i, W_i)."""
        projected: list[Tensor] = []
        for index, projection in enumerate(self.projections):
            projected.append(projection(levels[index]))
        return projected
