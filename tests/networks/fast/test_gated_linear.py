"""The gate-mixed linear layer on latent codes: value, gradients and their derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from i2net_bundle.networks.fast.codes import CellMap, Codes
from i2net_bundle.networks.fast.gated_linear import gated_linear

NUM_QUERIES, NUM_CELLS = 7, (4, 3)
CELLS = torch.tensor([[0, 4], [2, 4], [2, 5], [0, 5], [3, 5], [0, 4], [2, 5]], dtype=torch.int32)  # none reads 1 and 6


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def arguments(num_learners: int, coarse: bool, out_channels: int) -> tuple[Tensor | None, ...]:
    """Gate, weight, bias, direct codes, tables."""
    widths = (2, 3, 2) if coarse else (4,)
    tables = [numbers(rows, width) for rows, width in zip(NUM_CELLS, widths[1:], strict=False)]
    gate = numbers(NUM_QUERIES, num_learners) if num_learners > 1 else None
    weight, bias = numbers(num_learners, out_channels, sum(widths)), numbers(num_learners, out_channels)
    return gate, weight, bias, numbers(NUM_QUERIES, widths[0]), *tables


def apply(gate: Tensor | None, weight: Tensor, bias: Tensor, direct: Tensor, *tables: Tensor) -> Tensor:
    cell_map = CellMap(CELLS, sum(NUM_CELLS)) if tables else None
    return gated_linear(Codes(direct, tables, cell_map), gate, weight, bias)


@pytest.mark.parametrize("out_channels", [2, 6], ids=["narrower", "wider"])
@pytest.mark.parametrize("coarse", [False, True], ids=["direct codes", "with coarse levels"])
@pytest.mark.parametrize("num_learners", [1, 3])
class TestGatedLinear:
    def test_equals_one_weight_matrix_per_query(self, num_learners: int, coarse: bool, out_channels: int) -> None:
        gate, weight, bias, direct, *tables = arguments(num_learners, coarse, out_channels)
        x = direct
        if tables:
            x = torch.cat([direct, tables[0][CELLS[:, 0].long()], tables[1][CELLS[:, 1].long() - NUM_CELLS[0]]], dim=1)
        shares = torch.ones(NUM_QUERIES, 1, dtype=torch.float64) if gate is None else gate
        expected = torch.einsum("pk,koc,pc->po", shares, weight, x) + shares @ bias
        torch.testing.assert_close(apply(gate, weight, bias, direct, *tables), expected)

    def test_gradients_match_finite_differences_once_and_twice(
        self, num_learners: int, coarse: bool, out_channels: int
    ) -> None:
        inputs = arguments(num_learners, coarse, out_channels)
        assert gradcheck(apply, inputs)
        assert gradgradcheck(apply, inputs)


def test_the_gradient_of_the_learners_alone_does_not_run_what_leads_to_the_codes() -> None:
    gate, weight, bias, direct, *tables = arguments(3, True, 2)
    seen: list[str] = []
    codes = [value * 1 for value in (gate, direct, *tables)]
    for value in codes:
        value.register_hook(lambda _: seen.append("codes"))
    output = apply(codes[0], weight, bias, *codes[1:])
    torch.autograd.grad(output.sin().sum(), [weight, bias], create_graph=True)
    assert seen == []


def test_an_empty_cell_has_no_gradient() -> None:
    inputs = arguments(3, True, 2)
    (gradient,) = torch.autograd.grad(apply(*inputs).sum(), [inputs[4]])
    assert [bool(row.any()) for row in gradient] == [True, False, True, True]
