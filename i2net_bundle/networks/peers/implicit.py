"""Implicit decoders with static weights: IFA (Hu et al., ECCV 2022) and IOSNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from i2net_bundle.networks.coordinates import FourierEncoding, sample_nearest
from i2net_bundle.networks.heads import resize
from i2net_bundle.networks.neck import Neck
from i2net_bundle.networks.peers.blocks import conv_bn_relu


class StaticImplicitDecoder(nn.Module):
    """Sampled features and relative coordinates of all levels, decoded by one network for all points.

    IFA samples the nearest cell and encodes the coordinates; IOSNet samples bilinearly and takes them as they are.

    Args:
        level_channels: channels of the levels, fine to coarse.
        out_channels: channels of the decoded map.
        neck_channels: common width of the levels.
        pos_dim: size of the Fourier encoding, 0 for raw coordinates.
        bilinear: whether features are sampled bilinearly.
    """

    def __init__(
        self, level_channels: Sequence[int], out_channels: int, neck_channels: int, pos_dim: int, bilinear: bool
    ) -> None:
        super().__init__()
        self.bilinear = bilinear
        self.neck = Neck(level_channels, neck_channels)
        self.encodings = nn.ModuleList(FourierEncoding(pos_dim) for _ in level_channels)
        width = len(level_channels) * (neck_channels + 2 + pos_dim)
        self.mlp = nn.Sequential(
            conv_bn_relu(width, 256, 1, bias=True),
            conv_bn_relu(256, 256, 1, bias=True),
            nn.Conv2d(256, out_channels, kernel_size=1),
        )

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Decode levels (B, C_i, H_i, W_i) to (B, out_channels, H_1, W_1)."""
        batch, height, width = levels[0].shape[0], levels[0].shape[2], levels[0].shape[3]
        projected = self.neck(levels)
        codes: list[Tensor] = []
        for index, encoding in enumerate(self.encodings):
            feature, rel_coord = sample_nearest(projected[index], height, width)  # (B, H, W, C), (H, W, 2)
            feature = resize(projected[index], height, width) if self.bilinear else feature.permute(0, 3, 1, 2)
            position = encoding(rel_coord).to(feature.dtype).permute(2, 0, 1)  # (2 + pos_dim, H, W)
            codes += [position.expand(batch, -1, -1, -1), feature]
        return self.mlp(torch.cat(codes, dim=1))
