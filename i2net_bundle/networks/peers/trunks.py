"""Trunks: an image to four levels, fine to coarse, and a skip feature for the head."""

from __future__ import annotations

from torch import Tensor

from i2net_bundle.networks.encoders import UNetEncoder


class UNetTrunk(UNetEncoder):
    """U-Net whose four resolutions are the levels, as the paper's rivals on Synapse use it.

    With four up blocks it is the trunk of I²Net: 64, 64, 128, 256 channels at 1, 1/2, 1/4, 1/8. With one it is the
    weaker trunk that the counts of the paper's rivals show: 64, 128, 256 channels of the downward path, and 256 at 1/8.

    Args:
        in_channels: image channels.
        up_blocks: number of up blocks, 1 to 4.
    """

    def __init__(self, in_channels: int = 1, up_blocks: int = 4) -> None:
        super().__init__(in_channels, up_blocks=up_blocks)
        self.level_channels = (self.skip_channels, *self.level_channels)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode an image (B, C, H, W): the finest level, and all four."""
        skip, levels = super().forward(image)
        return skip, [skip, *levels]
