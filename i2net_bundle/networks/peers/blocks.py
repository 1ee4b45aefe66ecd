"""Blocks that several decoders share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel: int, dilation: int = 1, bias: bool = False
) -> nn.Sequential:
    """Convolution that keeps the size, batch normalisation, ReLU."""
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=bias)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def resize_like(x: Tensor, other: Tensor, mode: str = "bilinear", align_corners: bool | None = None) -> Tensor:
    """Resize ``x`` (B, C, h, w) to the rows and columns of ``other`` (B, D, H, W)."""
    if x.shape[2:] == other.shape[2:]:
        return x
    return F.interpolate(x, size=(other.shape[2], other.shape[3]), mode=mode, align_corners=align_corners)


def warp(x: Tensor, flow: Tensor, cells: tuple[float, float]) -> Tensor:
    """Sample ``x`` where a flow points, bilinearly, in float32 or more; corners are aligned.

    In bfloat16, positions in a map of 80 points would be off by up to a third of a point.

    Args:
        x: map (B, C, H, W).
        flow: offset of each point along (x, y), (B, 2, H, W).
        cells: divisors that turn the flow's x and y into the range [-1, 1] of the grid.

    Returns:
        the warped map (B, C, H, W), of the type of ``x``.
    """
    height, width = x.shape[2], x.shape[3]
    dtype = torch.promote_types(x.dtype, torch.float32)
    flow = flow.to(dtype)
    y = torch.linspace(-1, 1, height, device=x.device, dtype=dtype)[:, None].expand(height, width)
    x_axis = torch.linspace(-1, 1, width, device=x.device, dtype=dtype)[None, :].expand(height, width)
    offset = torch.stack([flow[:, 0] / cells[0], flow[:, 1] / cells[1]], dim=-1)  # (B, H, W, 2)
    grid = torch.stack([x_axis, y], dim=-1) + offset
    return F.grid_sample(x.to(dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=True).to(x.dtype)
