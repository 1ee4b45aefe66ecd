"""A network small enough to train, save and differentiate twice within a unit test."""

from __future__ import annotations

import torch
from torch import nn

from i2net_bundle.networks import I2Net, ImplicitDecoder, UNetEncoder
from i2net_bundle.networks.heads import SkipHead
from i2net_bundle.networks.neck import Neck


def small_i2net(num_learners: int = 3, out_channels: int = 2, pos_dim: int = 0) -> I2Net:
    """An `I2Net` with every part of the paper's and some 4000 parameters: one channel in, two levels, sides from 8."""
    encoder = UNetEncoder(in_channels=1, channels=(4, 4, 4, 4))
    neck = Neck(encoder.level_channels, 4)
    decoder = ImplicitDecoder(neck.out_channels, (6, 5), (7,), num_learners, pos_dim)
    return I2Net(encoder, neck, decoder, SkipHead(encoder.skip_channels, decoder.out_channels, out_channels))


def randomise_batch_norms(network: nn.Module) -> None:
    """Give every batch normalisation an affine map and running statistics that are not the identity's."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


def parameter_count(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def assert_gradients_close(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], rtol: float = 1e-4, atol: float = 1e-6
) -> None:
    """Compare gradients by name, each to ``rtol`` of its tensor's largest value."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error, bound = (found[name] - value).abs().max(), max(rtol * value.abs().max().item(), atol)
        assert error <= bound, f"{name}: gradient is off by {error:.2e}, allowed {bound:.2e}"
