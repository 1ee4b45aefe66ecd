"""Learner orthogonalization: the penalty, the gradients it looks at, and its own second-order gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from i2net_bundle.losses.orthogonalization import (
    flatten_learners,
    learner_cosines,
    learner_gradients,
    learner_orthogonalization,
)
from i2net_bundle.networks.decoder import I2Layer, ImplicitDecoder

LEARNERS = [1, 2, 3, 4, 6, 8]
SQRT_HALF = math.sqrt(0.5)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def penalty(loss: Tensor, learners: list[tuple[Tensor, Tensor]]) -> Tensor:
    return learner_orthogonalization(learner_cosines(learner_gradients(loss, learners)), len(learners[0][0]))


def slow_penalty(gradients: list[list[Tensor]]) -> float:
    """Eq. 6 with a loop over layers and pairs of learners."""
    total = 0.0
    for layer in gradients:
        num_learners = len(layer)
        pairs = 0.0
        for i in range(num_learners):
            for j in range(i + 1, num_learners):
                inner = sum((layer[i] * layer[j]).tolist())
                pairs += (inner / math.sqrt(sum((layer[i] ** 2).tolist()) * sum((layer[j] ** 2).tolist()))) ** 2
        total += pairs / (num_learners * (num_learners - 1))
    return total


class TinyNetwork(torch.nn.Module):
    """Two I²Layers and a gate without kinks, in float64, for finite differences."""

    def __init__(self, num_learners: int) -> None:
        super().__init__()
        self.gate = torch.nn.Linear(3, num_learners)
        self.layers = torch.nn.ModuleList(
            I2Layer(ins, outs, num_learners, norm_act=False) for ins, outs in pairwise((3, 4, 2))
        )
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x).softmax(dim=1)
        return self.layers[1](self.layers[0](x, gate).tanh(), gate)

    def learners(self) -> list[tuple[Tensor, Tensor]]:
        return [(layer.weight, layer.bias) for layer in self.layers]


@pytest.fixture
def tiny() -> Callable[[int], tuple[TinyNetwork, Tensor, Tensor]]:
    def build(num_learners: int) -> tuple[TinyNetwork, Tensor, Tensor]:
        return TinyNetwork(num_learners), torch.randn(5, 3, dtype=torch.float64), torch.randint(0, 2, (5,))

    return build


Tiny = Callable[[int], tuple[TinyNetwork, Tensor, Tensor]]


class TestPenalty:
    def test_two_learners_at_45_degrees_by_hand(self) -> None:
        cosines = learner_cosines([torch.tensor([[3.0, 0.0], [2.0, 2.0]])])
        torch.testing.assert_close(cosines, torch.tensor([[SQRT_HALF]]))
        assert learner_orthogonalization(cosines, 2).item() == pytest.approx(0.5 / (2 * 1))

    def test_three_learners_in_two_layers_by_hand(self) -> None:
        first = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])  # cosines 0, √½, √½
        second = torch.tensor([[1.0, 0.0, 0.0], [-5.0, 0.0, 0.0], [0.0, 0.0, 4.0]])  # -1, 0, 0
        cosines = learner_cosines([first, second])
        torch.testing.assert_close(cosines, torch.tensor([[0, SQRT_HALF, SQRT_HALF], [-1, 0, 0]]))
        assert learner_orthogonalization(cosines, 3).item() == pytest.approx((0.5 + 0.5 + 1) / (3 * 2))

    @pytest.mark.parametrize("num_learners", LEARNERS[1:])
    def test_orthogonal_learners_cost_nothing_and_parallel_ones_a_half(self, num_learners: int) -> None:
        orthogonal = learner_cosines([torch.diag(torch.arange(1.0, num_learners + 1))])
        assert learner_orthogonalization(orthogonal, num_learners).item() == 0
        parallel = learner_cosines([torch.tensor([[1.0, -2.0]]) * torch.arange(1.0, num_learners + 1)[:, None]])
        # K (K - 1) / 2 pairs of cos² = 1 over K (K - 1)
        assert learner_orthogonalization(parallel, num_learners).item() == pytest.approx(0.5)

    @pytest.mark.parametrize("num_learners", LEARNERS[1:])
    def test_penalty_equals_a_loop_over_pairs(self, num_learners: int) -> None:
        gradients = [torch.randn(num_learners, width, dtype=torch.float64) for width in (7, 4, 11)]
        cosines = learner_cosines(gradients)
        assert cosines.shape == (3, num_learners * (num_learners - 1) // 2)
        expected = slow_penalty([list(layer) for layer in gradients])
        assert learner_orthogonalization(cosines, num_learners).item() == pytest.approx(expected)

    def test_a_single_learner_costs_nothing(self, tiny: Tiny) -> None:
        network, x, target = tiny(1)
        value = penalty(F.cross_entropy(network(x), target), network.learners())
        assert value.item() == 0
        value.backward()
        assert all(parameter.grad is None or not parameter.grad.any() for parameter in network.parameters())

    def test_a_learner_without_gradient_gives_no_nan(self) -> None:
        gradient = torch.tensor([[1.0, 2.0], [0.0, 0.0], [2.0, 1.0]], requires_grad=True)
        value = learner_orthogonalization(learner_cosines([gradient]), 3)
        value.backward()
        assert value.item() == pytest.approx((4 / 5) ** 2 / 6)
        assert torch.isfinite(gradient.grad).all()


class TestLearnerGradients:
    def test_weight_and_bias_of_a_learner_make_one_vector(self) -> None:
        weight, bias = torch.arange(12.0).view(2, 2, 3), torch.tensor([[100.0, 101.0], [102.0, 103.0]])
        [flat] = flatten_learners([(weight, bias)])
        assert flat.tolist() == [[0, 1, 2, 3, 4, 5, 100, 101], [6, 7, 8, 9, 10, 11, 102, 103]]

    @pytest.mark.parametrize("num_learners", LEARNERS)
    def test_gradients_equal_those_of_separate_learners(self, num_learners: int, tiny: Tiny) -> None:
        network, x, target = tiny(num_learners)
        gate = network.gate(x).softmax(dim=1)
        # every learner a tensor of its own, as the paper has them
        separate = [
            [(weight[k].detach().requires_grad_(), bias[k].detach().requires_grad_()) for k in range(num_learners)]
            for weight, bias in network.learners()
        ]
        hidden = sum(gate[:, k : k + 1] * F.linear(x, *separate[0][k]) for k in range(num_learners)).tanh()
        logits = sum(gate[:, k : k + 1] * F.linear(hidden, *separate[1][k]) for k in range(num_learners))
        loss = F.cross_entropy(logits, target)
        expected = []
        for layer in separate:
            pairs = [torch.autograd.grad(loss, learner, retain_graph=True) for learner in layer]
            expected.append([torch.cat([weight.flatten(), bias]) for weight, bias in pairs])

        own_loss = F.cross_entropy(network(x), target)
        found = learner_gradients(own_loss, network.learners())
        for layer, reference in zip(found, expected, strict=True):
            torch.testing.assert_close(layer, torch.stack(reference))
        if num_learners > 1:
            assert penalty(own_loss, network.learners()).item() == pytest.approx(slow_penalty(expected))

    def test_gradients_can_be_differentiated_and_the_loss_still_too(self, tiny: Tiny) -> None:
        network, x, target = tiny(2)
        loss = F.cross_entropy(network(x), target)
        gradients = learner_gradients(loss, network.learners())
        assert all(gradient.requires_grad for gradient in gradients)
        assert all(parameter.grad is None for parameter in network.parameters())
        loss.backward()


class TestSecondOrder:
    @pytest.mark.parametrize("num_learners", [2, 3])
    def test_gradient_of_the_penalty_matches_finite_differences(self, num_learners: int, tiny: Tiny) -> None:
        network, x, target = tiny(num_learners)
        names = [name for name, _ in network.named_parameters()]

        def penalty_of(*values: Tensor) -> Tensor:
            named = dict(zip(names, values, strict=True))
            loss = F.cross_entropy(functional_call(network, named, (x,)), target)
            return penalty(loss, [(named[f"layers.{i}.weight"], named[f"layers.{i}.bias"]) for i in range(2)])

        assert torch.autograd.gradcheck(penalty_of, tuple(network.parameters()))

    def test_gradient_through_the_decoder_matches_a_step_along_it(self) -> None:
        decoder = ImplicitDecoder((2, 2), (4, 3), (4,), num_learners=3).double().train()
        features = [torch.randn(2, 2, 6, 5, dtype=torch.float64), torch.randn(2, 2, 3, 2, dtype=torch.float64)]
        target = torch.randint(0, 3, (2, 6, 5))
        parameters = list(decoder.parameters())

        def value() -> Tensor:
            return penalty(F.cross_entropy(decoder(features)[0], target), decoder.learner_parameters())

        gradients = torch.autograd.grad(value(), parameters)
        direction = [torch.randn_like(parameter) for parameter in parameters]
        expected = sum((gradient * step).sum() for gradient, step in zip(gradients, direction, strict=True))
        shifted = []
        for sign in (1, -2):  # to +ε, then from there to -ε
            with torch.no_grad():
                for parameter, step in zip(parameters, direction, strict=True):
                    parameter += sign * 1e-6 * step
            shifted.append(value().item())
        assert (shifted[0] - shifted[1]) / 2e-6 == pytest.approx(expected.item(), rel=1e-5)

    def test_descending_the_penalty_turns_learners_apart(self, tiny: Tiny) -> None:
        network, x, target = tiny(3)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        values = []
        for _ in range(10):
            value = penalty(F.cross_entropy(network(x), target), network.learners())
            values.append(value.item())
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        assert all(after < before for before, after in pairwise(values))

    @pytest.mark.parametrize("scale", [1e-4, 7.0, 1e6])
    def test_scaling_the_loss_changes_neither_penalty_nor_its_gradient(self, scale: float, tiny: Tiny) -> None:
        network, x, target = tiny(3)
        found = []
        for factor in (1.0, scale):
            value = penalty(factor * F.cross_entropy(network(x), target), network.learners())
            found.append([value, *torch.autograd.grad(value, list(network.parameters()))])
        for value, reference in zip(*found, strict=True):
            torch.testing.assert_close(value, reference)
