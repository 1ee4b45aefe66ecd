"""MONAI's UNet++ with a single output, as the bundle requires of a network."""

from __future__ import annotations

from monai.networks.nets import BasicUNetPlusPlus
from torch import Tensor


class UNetPlusPlus(BasicUNetPlusPlus):
    """UNet++ (Zhou et al. 2018) without deep supervision; see MONAI for its arguments."""

    def forward(self, x: Tensor) -> Tensor:
        """Segment an image (B, C, H, W): logits (B, O, H, W) of the deepest decoder."""
        logits: Tensor = super().forward(x)[-1]
        return logits
