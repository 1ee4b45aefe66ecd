"""Gate shaping: sharp at every point, even on the whole."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from i2net_bundle.losses.gating import entropy, gate_expectation_smoothing, gate_instance_sharpening, mean_gate

LEARNERS = [1, 2, 3, 4, 6, 8]
LOSSES = [gate_instance_sharpening, gate_expectation_smoothing]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def random_gates(num_learners: int, *points: int) -> Tensor:
    return torch.randn(2, num_learners, *points, generator=torch.Generator().manual_seed(0)).double().softmax(dim=1)


def one_hot_gates(num_learners: int) -> Tensor:
    """One image, every learner chosen at 2 of its points: (1, K, 2 K)."""
    return torch.eye(num_learners).repeat(1, 2)[None]


class TestByHand:
    def test_entropy_of_a_half_and_two_quarters(self) -> None:
        # (1/2) ln 2 + 2 (1/4) ln 4 = 1.5 ln 2
        assert entropy(torch.tensor([0.5, 0.25, 0.25]), dim=0).item() == pytest.approx(1.5 * math.log(2))

    def test_sharpening_is_the_mean_of_entropies(self) -> None:
        gates = torch.tensor([[1.0, 0.5], [0.0, 0.5]])[None]  # two points: (1, 0) and (1/2, 1/2)
        assert gate_instance_sharpening(gates).item() == pytest.approx(math.log(2) / 2)  # (0 + ln 2) / 2

    def test_smoothing_is_minus_the_entropy_of_the_mean(self) -> None:
        gates = torch.tensor([[1.0, 0.5], [0.0, 0.5]])[None]
        assert mean_gate(gates).tolist() == [0.75, 0.25]
        # (3/4) ln (3/4) + (1/4) ln (1/4) = -0.215762 - 0.346574
        assert gate_expectation_smoothing(gates).item() == pytest.approx(-0.562335, abs=1e-6)


@pytest.mark.parametrize("num_learners", LEARNERS)
class TestProperties:
    def test_losses_equal_a_loop_over_batch_and_points(self, num_learners: int) -> None:
        gates = random_gates(num_learners, 3, 5)
        points = [gates[b, :, y, x].tolist() for b in range(2) for y in range(3) for x in range(5)]
        sharpening = sum(-sum(g * math.log(g) for g in point) for point in points) / len(points)
        mean = [sum(column) / len(points) for column in zip(*points, strict=True)]
        assert gate_instance_sharpening(gates).item() == pytest.approx(sharpening)
        assert mean_gate(gates).tolist() == pytest.approx(mean)
        assert gate_expectation_smoothing(gates).item() == pytest.approx(sum(m * math.log(m) for m in mean))

    def test_even_gates_have_the_largest_entropy(self, num_learners: int) -> None:
        gates = torch.full((2, num_learners, 4, 4), 1 / num_learners)
        assert gate_instance_sharpening(gates).item() == pytest.approx(math.log(num_learners), abs=1e-6)
        assert gate_expectation_smoothing(gates).item() == pytest.approx(-math.log(num_learners), abs=1e-6)

    def test_one_hot_gates_used_evenly_are_the_minimum_of_both(self, num_learners: int) -> None:
        gates = one_hot_gates(num_learners)
        assert gate_instance_sharpening(gates).item() == 0
        assert gate_expectation_smoothing(gates).item() == pytest.approx(-math.log(num_learners), abs=1e-6)

    def test_losses_stay_within_their_bounds(self, num_learners: int) -> None:
        gates, bound = random_gates(num_learners, 30), math.log(num_learners) + 1e-9
        assert 0 <= gate_instance_sharpening(gates).item() <= bound
        assert -bound <= gate_expectation_smoothing(gates).item() <= 1e-9

    def test_shape_of_the_point_axes_does_not_matter(self, num_learners: int) -> None:
        gates = random_gates(num_learners, 3, 5)
        for loss in LOSSES:
            torch.testing.assert_close(loss(gates.flatten(2)), loss(gates))

    @pytest.mark.parametrize("loss", LOSSES)
    def test_gradient_matches_finite_differences(self, num_learners: int, loss: Callable[[Tensor], Tensor]) -> None:
        logits = torch.randn(2, num_learners, 3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: loss(x.softmax(dim=1)), logits)


@pytest.mark.parametrize("loss", LOSSES)
class TestUnderflow:
    """A gate of exactly 0: float32's softmax gives it from a difference of logits of 104."""

    def test_loss_is_finite(self, loss: Callable[[Tensor], Tensor]) -> None:
        assert loss(torch.tensor([[1.0, 1.0], [0.0, 0.0]])[None]).item() == 0

    def test_gradient_by_the_gate_is_finite(self, loss: Callable[[Tensor], Tensor]) -> None:
        gates = torch.tensor([[1.0, 1.0], [0.0, 0.0]])[None].requires_grad_()
        loss(gates).backward()
        assert torch.isfinite(gates.grad).all()

    def test_gradient_by_the_logits_is_finite(self, loss: Callable[[Tensor], Tensor]) -> None:
        logits = torch.tensor([[200.0, 200.0], [0.0, 0.0]])[None].requires_grad_()
        gates = logits.softmax(dim=1)
        assert (gates[:, 1] == 0).all()
        loss(gates).backward()
        assert torch.isfinite(logits.grad).all()
