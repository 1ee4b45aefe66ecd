"""Decoders and feature levels small enough to compare point by point."""

from __future__ import annotations

import torch

from i2net_bundle.networks.decoder import ImplicitDecoder
from tests.networks.small_networks import randomise_batch_norms

EVEN_SIZES = [(16, 8), (8, 4), (4, 2)]
ODD_SIZES = [(13, 11), (7, 6), (4, 3)]  # prime query sizes: ties only at the centre, where grid_sample is exact


def make_features(sizes: list[tuple[int, int]], channels: int = 5, batch: int = 2) -> list[torch.Tensor]:
    return [torch.randn(batch, channels, *size, requires_grad=True) for size in sizes]


def make_decoder(num_learners: int = 3, pos_dim: int = 0, levels: int = 3, channels: int = 5) -> ImplicitDecoder:
    decoder = ImplicitDecoder((channels,) * levels, (9, 7, 4), (8, 6), num_learners, pos_dim)
    randomise_batch_norms(decoder)
    return decoder
