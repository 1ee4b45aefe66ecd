"""AlignSeg (Huang et al., TPAMI 2021): features and context aligned by learned offsets, at the finest resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle.networks.peers.blocks import resize_like, warp

WIDTH = 256


def _norm(channels: int = WIDTH) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.LeakyReLU(0.01))


class Refinement(nn.Module):
    """Residual refinement: a 1×1 projection, plus a 3×3 bottleneck of it.

    Args:
        in_channels: channels of the map.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(in_channels, WIDTH, kernel_size=1, bias=False)
        self.residual = nn.Sequential(
            nn.Conv2d(WIDTH, 64, kernel_size=3, padding=1, bias=False),
            _norm(64),
            nn.Conv2d(64, WIDTH, kernel_size=3, padding=1, bias=False),
        )
        self.norm = _norm()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 256, H, W)."""
        x = self.project(x)
        return self.norm(x + self.residual(x))


def _offsets() -> nn.Sequential:
    """Two maps, concatenated, to the offsets of one of them; they start at 0."""
    last = nn.Conv2d(WIDTH, 2, kernel_size=3, padding=1, bias=False)
    nn.init.zeros_(last.weight)
    return nn.Sequential(nn.Conv2d(2 * WIDTH, WIDTH, kernel_size=1, bias=False), _norm(), last)


def _shifted(x: Tensor, offset: Tensor) -> Tensor:
    """Sample ``x`` at offsets in pixels."""
    return warp(x, offset, (max(x.shape[3] - 1, 1) / 2, max(x.shape[2] - 1, 1) / 2))


class FeatureAlignment(nn.Module):
    """Add a fine and a coarse map, each sampled where both say."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse_offset, self.fine_offset = _offsets(), _offsets()

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Join ``fine`` (B, 256, H, W) and ``coarse`` (B, 256, h, w) to (B, 256, H, W)."""
        coarse = resize_like(coarse, fine, align_corners=True)
        both = torch.cat([fine, coarse], dim=1)
        return _shifted(coarse, self.coarse_offset(both)) + _shifted(fine, self.fine_offset(both))


class ContextAlignment(nn.Module):
    """Add the context of 3×3 image parts to a map, sampled where both say.

    Args:
        in_channels: channels of the map.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.local, self.context = _context_branch(in_channels), _context_branch(in_channels)
        self.offset = _offsets()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 256, H, W)."""
        local = self.local(x)
        context = resize_like(self.context(F.adaptive_avg_pool2d(x, 3)), local, align_corners=True)
        return local + _shifted(context, self.offset(torch.cat([local, context], dim=1)))


def _context_branch(in_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, kernel_size=1, bias=False),
        _norm(in_channels),
        nn.Conv2d(in_channels, WIDTH, kernel_size=3, padding=1, bias=False),
        _norm(),
    )


class AlignSegDecoder(nn.Module):
    """The paper's "AlignSeg" row, without the auxiliary head.

    Args:
        level_channels: channels of the levels, fine to coarse.
        out_channels: channels of the decoded map.
    """

    def __init__(self, level_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.refine_levels = nn.ModuleList(Refinement(channels) for channels in level_channels)
        self.align = nn.ModuleList(FeatureAlignment() for _ in level_channels)
        self.refine_joined = nn.ModuleList(Refinement(WIDTH) for _ in level_channels)
        self.context = ContextAlignment(level_channels[-1])
        self.refine_context = Refinement(WIDTH)
        self.head = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, kernel_size=3, padding=1), _norm())
        self.conv = nn.Conv2d(WIDTH, out_channels, kernel_size=1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Decode levels (B, C_i, H_i, W_i) to (B, out_channels, H_1, W_1)."""
        refined: list[Tensor] = []
        for index, refine in enumerate(self.refine_levels):
            refined.append(refine(levels[index]))
        refined.append(self.refine_context(self.context(levels[-1])))
        y = refined[0]
        for index, (align, refine) in enumerate(zip(self.align, self.refine_joined, strict=True)):
            y = refine(align(y, refined[index + 1]))
        return self.conv(self.head(y))
