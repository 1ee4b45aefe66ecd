"""An auxiliary head: it segments from one stage of the encoder, in training alone, so that this stage learns faster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class AuxiliaryHead(nn.Module):
    """Segment from one level of a network's encoder: 3×3 convolution to a quarter of the channels, BN, ReLU, 1×1.

    Source: Zhao et al., Pyramid Scene Parsing Network, CVPR 2017, section 3.3, without dropout.

    Args:
        network: network with an ``encoder`` that returns levels and has ``level_channels``, see
            `i2net_bundle.networks.encoders`. The head has its own parameters, on the network's device.
        out_channels: channels of the logits.
        stage: the level, counted from 1, fine to coarse.

    Raises:
        ValueError: the network has no such level.
    """

    def __init__(self, network: nn.Module, out_channels: int, stage: int = 3) -> None:
        super().__init__()
        found: Any = getattr(getattr(network, "encoder", None), "level_channels", None)
        channels: Sequence[int] = () if found is None else found
        if not 1 <= stage <= len(channels):
            has = f"whose encoder has {len(channels)} levels" if channels else "which has no encoder with levels"
            raise ValueError(
                f"An auxiliary loss on encoder stage {stage} cannot be taken from {type(network).__name__}, {has}. Set "
                "auxiliary_weight to 0, or use a network with encoder.level_channels."
            )
        self.stage = stage
        width = max(1, channels[stage - 1] // 4)
        self.layers = nn.Sequential(
            nn.Conv2d(channels[stage - 1], width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, out_channels, kernel_size=1),
        ).to(next(network.parameters()).device)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map the encoder's levels to logits (B, O, h, w) at the resolution of the stage."""
        logits: Tensor = self.layers(levels[self.stage - 1])
        return logits
