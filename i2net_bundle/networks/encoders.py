"""Encoders: they map an image to a fine skip feature for the head and several levels for the implicit decoder.

An encoder is a module with ``forward(image) -> (skip, levels)``, with levels from fine to coarse, and the attributes
``skip_channels``, ``level_channels`` and ``imagenet_url``.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from monai.networks.nets.resnet import ResNet, ResNetBlock, ResNetBottleneck, get_inplanes
from torch import Tensor, nn
from torch.nn import functional as F

_RESNETS: dict[int, tuple[type[ResNetBlock | ResNetBottleneck], list[int], str]] = {
    18: (ResNetBlock, [2, 2, 2, 2], "resnet18-f37072fd.pth"),
    34: (ResNetBlock, [3, 4, 6, 3], "resnet34-b627a593.pth"),
    50: (ResNetBottleneck, [3, 4, 6, 3], "resnet50-0676ba61.pth"),
}


class ResNetEncoder(nn.Module):
    """ResNet trunk with torchvision's parameter names: stem at 1/2 as skip, stages 1-4 (1/4 … 1/32) as levels.

    Args:
        depth: 18, 34 or 50.
        in_channels: image channels.
        deep_stem: use three 3×3 convolutions (64-64-128) instead of one 7×7 (Cityscapes configuration).

    Raises:
        ValueError: the depth is unknown.
    """

    def __init__(self, depth: int = 18, in_channels: int = 3, deep_stem: bool = False) -> None:
        super().__init__()
        if depth not in _RESNETS:
            raise ValueError(f"ResNet depth must be one of {sorted(_RESNETS)}, got {depth}.")
        block, blocks, weights_file = _RESNETS[depth]
        # MONAI's defaults (stem of stride 1, shortcuts with bias) accept ImageNet weights, but compute something else
        trunk = ResNet(
            block,
            blocks,
            get_inplanes(),
            spatial_dims=2,
            n_input_channels=in_channels,
            conv1_t_stride=2,
            bias_downsample=False,
            feed_forward=False,
        )
        self.conv1: nn.Module = trunk.conv1
        self.bn1, self.act, self.maxpool = trunk.bn1, trunk.act, trunk.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4
        self.skip_channels = 64
        if deep_stem:
            self.skip_channels = 128
            self.conv1 = nn.Sequential(
                *_conv_bn_relu(in_channels, 64, stride=2),
                *_conv_bn_relu(64, 64),
                nn.Conv2d(64, 128, kernel_size=3, padding=1, bias=False),
            )
            self.bn1 = nn.BatchNorm2d(128)
            first: Any = self.layer1[0]
            kernel, padding = first.conv1.kernel_size, first.conv1.padding
            first.conv1 = nn.Conv2d(128, first.conv1.out_channels, kernel, padding=padding, bias=False)
            first.downsample = nn.Sequential(
                nn.Conv2d(128, 64 * block.expansion, kernel_size=1, bias=False), nn.BatchNorm2d(64 * block.expansion)
            )
        self.level_channels = tuple(width * block.expansion for width in (64, 128, 256, 512))
        self.imagenet_url = None if deep_stem else f"https://download.pytorch.org/models/{weights_file}"

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode an image (B, C, H, W)."""
        stem: Tensor = self.act(self.bn1(self.conv1(image)))
        level1 = self.layer1(self.maxpool(stem))
        level2 = self.layer2(level1)
        level3 = self.layer3(level2)
        level4 = self.layer4(level3)
        return stem, [level1, level2, level3, level4]


class UNetEncoder(nn.Module):
    """Bilinear U-Net trunk: last up block (full size) as skip, up blocks at 1/2, 1/4 and 1/8 as levels.

    Every block has two 3×3 conv-BN-ReLU. With a 1×1 convolution to 9 classes as its head, this is the U-Net of 17.26 M
    parameters in the paper's Table 1.

    Args:
        in_channels: image channels.
        channels: widths of the five resolutions, fine to coarse.
        up_blocks: number of up blocks; the finer levels are those of the downward path. Default is all.
    """

    def __init__(
        self, in_channels: int = 1, channels: tuple[int, ...] = (64, 128, 256, 512, 512), up_blocks: int | None = None
    ) -> None:
        super().__init__()
        self.stem = _double_conv(in_channels, channels[0], channels[0])
        self.down = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), _double_conv(fine, coarse, coarse))
            for fine, coarse in itertools.pairwise(channels)
        )
        self.up = nn.ModuleList()
        up_blocks = len(channels) - 1 if up_blocks is None else up_blocks
        below, up_channels = channels[-1], []
        for index in range(len(channels) - 2, len(channels) - 2 - up_blocks, -1):
            joined, out = below + channels[index], channels[max(index - 1, 0)]
            self.up.append(_double_conv(joined, joined // 2, out))
            up_channels.append(out)
            below = out
        levels = (*channels[: len(channels) - 1 - up_blocks], *reversed(up_channels))
        self.skip_channels, self.level_channels = levels[0], levels[1:]
        self.imagenet_url = None

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode an image (B, C, H, W)."""
        down = [self.stem(image)]
        for block in self.down:
            down.append(block(down[-1]))
        x = down.pop()
        levels: list[Tensor] = []
        for block in self.up:
            skip = down.pop()
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
            missing_y, missing_x = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]  # 1 where the size was odd
            x = F.pad(x, [missing_x // 2, missing_x - missing_x // 2, missing_y // 2, missing_y - missing_y // 2])
            x = block(torch.cat([skip, x], dim=1))
            levels.insert(0, x)
        levels = down + levels
        return levels[0], levels[1:]


def _conv_bn_relu(in_channels: int, out_channels: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]


def _double_conv(in_channels: int, mid_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(*_conv_bn_relu(in_channels, mid_channels), *_conv_bn_relu(mid_channels, out_channels))
