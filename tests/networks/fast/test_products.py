"""Products of matrices, by either library."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from i2net_bundle.hardware import has_avx512
from i2net_bundle.networks.fast import products


@pytest.fixture(params=["the faster library", "MKL"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    if request.param == "MKL":
        monkeypatch.setattr(products, "_onednn_linear", lambda: None)


WEIGHTS = {
    "rows": lambda: torch.randn(5, 7),
    "columns": lambda: torch.randn(7, 5).t(),
    "part of wider rows": lambda: torch.randn(5, 11)[:, 2:9],
    "part of wider columns": lambda: torch.randn(7, 12)[:, 4:9].t(),
}


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("weight", WEIGHTS.values(), ids=WEIGHTS.keys())
@pytest.mark.parametrize("x", [torch.ones(9, 7), torch.ones(9, 20)[:, 3:10]], ids=["rows", "part of wider rows"])
@pytest.mark.parametrize(
    "bias",
    [None, torch.arange(5.0), torch.ones(1).expand(5), torch.arange(10.0).view(5, 2)[:, 0]],
    ids=["without bias", "with bias", "one number for all", "with gaps"],
)
def test_a_linear_layer(weight: object, x: Tensor, bias: Tensor | None) -> None:
    matrix, x = weight(), x * torch.rand(9, 1)  # type: ignore[operator]
    expected = (x[:, None] * matrix).sum(dim=2)
    torch.testing.assert_close(products.linear(x, matrix, bias), expected if bias is None else expected + bias)


@pytest.mark.skipif(not has_avx512(), reason="on a processor without AVX-512 MKL is as fast")
def test_onednn_is_used_where_it_is_faster() -> None:
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        products.linear(torch.ones(9, 7), torch.ones(5, 7))
    assert "mkldnn::_linear_pointwise" in {event.key for event in recorded.key_averages()}


@pytest.mark.usefixtures("library")
def test_a_sum_of_outer_products() -> None:
    left, right = torch.randn(9, 6), torch.randn(9, 4)
    expected = (left[:, :, None] * right[:, None]).sum(dim=0)
    torch.testing.assert_close(products.sum_of_outer_products(left, right), expected)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_formats_keep_their_format(dtype: torch.dtype) -> None:
    x, weight = torch.randn(9, 7).to(dtype), torch.randn(5, 7).to(dtype)
    expected = (x.double() @ weight.double().t()).to(dtype)
    torch.testing.assert_close(products.linear(x, weight), expected)
    torch.testing.assert_close(products.sum_of_outer_products(x, x), (x.double().t() @ x.double()).to(dtype))


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("num_points", [0, 1])
def test_few_points(num_points: int) -> None:
    x, weight = torch.randn(num_points, 7), torch.randn(5, 7)
    torch.testing.assert_close(products.linear(x, weight), x @ weight.t())
    torch.testing.assert_close(products.sum_of_outer_products(x, x), x.t() @ x)
