"""CE-Net's context blocks see as far as its paper says, at any size."""

from __future__ import annotations

import pytest
import torch

from i2net_bundle.networks.published.cenet import CENet, DenseAtrousConvolution, ResidualMultiKernelPooling


def test_atrous_convolutions_see_19_cells() -> None:
    torch.manual_seed(0)
    block = DenseAtrousConvolution(4).double()
    torch.nn.init.constant_(block.last.bias, 10.0)  # no branch is cut off by its ReLU
    x = torch.randn(1, 4, 31, 31, dtype=torch.float64, requires_grad=True)
    block(x)[..., 15, 15].sum().backward()
    assert x.grad is not None
    rows = x.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert (int(rows.min()), int(rows.max())) == (15 - 9, 15 + 9)


def test_pooling_adds_four_channels_and_constant_maps_stay_constant() -> None:
    pooling = ResidualMultiKernelPooling(3)
    x = torch.full((1, 3, 7, 2), 0.5)
    joined = pooling(x)
    assert joined.shape == (1, 7, 7, 2)
    assert torch.equal(joined[:, :3], x)
    expected = pooling.reduce(x[..., :1, :1]).expand(1, 4, 7, 2)
    torch.testing.assert_close(joined[:, 3:], expected)


def test_the_network_has_29_million_parameters() -> None:
    network = CENet(in_channels=3, out_channels=1).to("meta")
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(29.0, abs=0.05)
