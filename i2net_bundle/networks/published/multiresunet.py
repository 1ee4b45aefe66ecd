"""MultiResUNet: a U-Net of multi-resolution blocks, with convolutions on the skip paths."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

_ALPHA = 1.67
"""Width of a block relative to that of a U-Net's (section 4.1)."""
_PARTS = (0.167, 0.333, 0.5)
"""Widths of a block's three convolutions relative to the block's, rounded so that they give those of Table 1."""


class MultiResUNet(nn.Module):
    """MultiResUNet (Ibtehaz and Rahman 2020, Table 1).

    Args:
        in_channels: image channels.
        out_channels: number of classes, or 1 for a sigmoid.
        widths: widths of the U-Net that each resolution corresponds to, fine to coarse.
    """

    def __init__(
        self, in_channels: int = 1, out_channels: int = 9, widths: Sequence[int] = (32, 64, 128, 256, 512)
    ) -> None:
        super().__init__()
        self.down, self.paths, self.up, self.joined = (nn.ModuleList() for _ in range(4))
        channels = in_channels
        for width in widths:
            block = MultiResBlock(channels, width)
            self.down.append(block)
            channels = block.out_channels
        for number, (fine, coarse) in enumerate(pairwise(widths)):
            self.paths.append(_res_path(MultiResBlock.channels(fine), fine, length=len(widths) - 1 - number))
            self.up.append(nn.ConvTranspose2d(MultiResBlock.channels(coarse), fine, kernel_size=2, stride=2))
            self.joined.append(MultiResBlock(2 * fine, fine))
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(MultiResBlock.channels(widths[0]), out_channels, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Segment an image (B, C, H, W), whose sides 16 divides: logits (B, O, H, W)."""
        skips: list[Tensor] = []
        x = image
        for number, block in enumerate(self.down):
            x = block(x if number == 0 else self.pool(x))
            skips.append(x)
        for number in reversed(range(len(self.up))):
            skip = self.paths[number](skips[number])
            x = self.joined[number](torch.cat([self.up[number](x), skip], dim=1))
        logits: Tensor = self.head(x)
        return logits


class MultiResBlock(nn.Module):
    """Three 3×3 convolutions in a chain, all of whose outputs are concatenated, and a shortcut (Fig. 3c).

    Args:
        in_channels: channels of the input.
        width: width of a U-Net's block in this place.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        thirds = self._widths(width)
        self.out_channels = sum(thirds)
        self.shortcut = _conv_bn(in_channels, self.out_channels, kernel=1)
        self.chain = nn.ModuleList(
            nn.Sequential(_conv_bn(before, after, kernel=3), nn.ReLU(inplace=True))
            for before, after in pairwise((in_channels, *thirds))
        )
        self.inner_norm = nn.BatchNorm2d(self.out_channels)
        self.norm = nn.BatchNorm2d(self.out_channels)

    @staticmethod
    def _widths(width: int) -> tuple[int, int, int]:
        first, second, third = (int(_ALPHA * width * part) for part in _PARTS)
        return first, second, third

    @classmethod
    def channels(cls, width: int) -> int:
        """Output channels of a block of a width."""
        return sum(cls._widths(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H, W)."""
        outputs: list[Tensor] = []
        for convolution in self.chain:
            outputs.append(convolution(outputs[-1] if outputs else x))
        y = self.inner_norm(torch.cat(outputs, dim=1))
        result: Tensor = self.norm(torch.relu(y + self.shortcut(x)))
        return result


class _ResidualConvolution(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.shortcut = _conv_bn(in_channels, out_channels, kernel=1)
        self.convolution = nn.Sequential(_conv_bn(in_channels, out_channels, kernel=3), nn.ReLU(inplace=True))
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(torch.relu(self.convolution(x) + self.shortcut(x)))
        return result


def _res_path(in_channels: int, out_channels: int, length: int) -> nn.Sequential:
    """Residual 3×3 convolutions on a skip connection, more of them on finer levels (Fig. 4)."""
    widths = (in_channels, *[out_channels] * length)
    return nn.Sequential(*(_ResidualConvolution(before, after) for before, after in pairwise(widths)))


def _conv_bn(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))
