"""MONAI's UNETR for 2D images of any size."""

from __future__ import annotations

from collections.abc import Sequence

import monai.networks.nets
from torch import Tensor

from i2net_bundle.networks.published.vit import ResizedPositions, remove_unused_parameters

_PATCH_SIZE, _HIDDEN_SIZE, _NUM_HEADS = 16, 768, 12


class UNETR(monai.networks.nets.UNETR):
    """UNETR (Hatamizadeh et al. 2022) in 2D; MONAI's accepts a single image size.

    Args:
        in_channels: image channels.
        out_channels: number of classes, or 1 for a sigmoid.
        grid: rows and columns of the learned positions.
    """

    def __init__(self, in_channels: int = 1, out_channels: int = 9, grid: Sequence[int] = (14, 14)) -> None:
        image_size = [side * _PATCH_SIZE for side in grid]
        super().__init__(
            in_channels,
            out_channels,
            image_size,
            hidden_size=_HIDDEN_SIZE,
            num_heads=_NUM_HEADS,
            norm_name="batch",  # instance normalisation would make large images depend on how they are cut into tiles
            spatial_dims=2,
        )
        self.vit.patch_embedding = ResizedPositions(in_channels, grid, _PATCH_SIZE, _HIDDEN_SIZE, _NUM_HEADS)
        remove_unused_parameters(self.vit)

    def forward(self, x_in: Tensor) -> Tensor:
        """Segment an image (B, C, H, W), whose sides 16 divides: logits (B, O, H, W)."""
        self.proj_view_shape = [x_in.shape[2] // _PATCH_SIZE, x_in.shape[3] // _PATCH_SIZE, _HIDDEN_SIZE]
        logits: Tensor = super().forward(x_in)
        return logits
