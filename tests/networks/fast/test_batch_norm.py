"""Batch normalisation and ReLU with a second derivative written out."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from i2net_bundle.networks.fast.batch_norm import norm_relu


@pytest.fixture
def norm() -> nn.BatchNorm1d:
    torch.manual_seed(0)
    layer = nn.BatchNorm1d(3).double()
    nn.init.uniform_(layer.weight, 0.5, 1.5)
    nn.init.uniform_(layer.bias, -0.5, 0.5)
    return layer


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_output_and_running_statistics_are_pytorchs(norm: nn.BatchNorm1d, training: bool) -> None:
    x, reference = torch.randn(9, 3).double(), copy.deepcopy(norm).train(training)
    torch.testing.assert_close(norm_relu(x, norm.train(training)), reference(x).relu())
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value)


def test_gradients_match_finite_differences_once_and_twice(norm: nn.BatchNorm1d) -> None:
    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(_NormRelu(norm), {"norm.weight": weight, "norm.bias": bias}, (x,))

    inputs = (torch.randn(6, 3).double().requires_grad_(), norm.weight, norm.bias)
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


class _NormRelu(nn.Module):
    def __init__(self, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return norm_relu(x, self.norm)


def test_another_normalisation_is_applied_as_it_is() -> None:
    x = torch.randn(5, 4)
    norm = nn.GroupNorm(2, 4)
    torch.testing.assert_close(norm_relu(x, norm), norm(x).relu())
