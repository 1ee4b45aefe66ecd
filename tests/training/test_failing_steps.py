"""A step that fails stops training, changes no weight, and says why."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2net_bundle.losses import I2NetLoss
from tests.training.runs import Make


class TestNotFinite:
    """A loss that is not finite stops training."""

    @pytest.fixture(params=[math.nan, math.inf], ids=["nan", "inf"])
    def batches(self, request: pytest.FixtureRequest, make_batches: Make) -> list[dict[str, Any]]:
        batches = make_batches(3)
        batches[1]["image"][1, 0, 3, 3] = request.param
        return batches

    def test_the_error_names_iteration_terms_and_cases(
        self, batches: list[dict[str, Any]], make_network: Make, make_trainer: Make
    ) -> None:
        with pytest.raises(FloatingPointError, match=r"at iteration 2 \(loss nan, segmentation .*Batch: 1/0, 1/1\."):
            make_trainer(make_network(), batches).run()

    def test_parameters_keep_the_values_of_the_last_good_step(
        self, batches: list[dict[str, Any]], make_network: Make, make_trainer: Make
    ) -> None:
        network, good = make_network(), make_network()
        with pytest.raises(FloatingPointError):
            make_trainer(network, batches).run()
        make_trainer(good, batches[:1]).run()
        assert all(torch.equal(*pair) for pair in zip(network.parameters(), good.parameters(), strict=True))


class BrokenGradient(nn.Module):
    """The network's loss with a finite value and a gradient that is not."""

    def __init__(self, loss: I2NetLoss) -> None:
        super().__init__()
        self.loss, self.learners = loss, loss.learners

    def forward(self, input: tuple[Tensor, Tensor], target: Tensor) -> dict[str, Tensor]:
        """Add the root of 0, whose slope is infinite."""
        terms = self.loss(input, target)
        return {**terms, "loss": terms["loss"] + (input[0] * 0).sum().sqrt()}


def test_a_gradient_that_is_not_finite_stops_training_and_changes_no_weight(
    make_network: Make, make_loss: Make, make_batches: Make, make_trainer: Make
) -> None:
    network = make_network()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    trainer = make_trainer(network, make_batches(1), loss=BrokenGradient(make_loss(network)))
    with pytest.raises(FloatingPointError, match=r"The gradient is not finite at iteration 1 .*Batch: 0/0, 0/1\."):
        trainer.run()
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), before, strict=True))


def test_a_batch_that_does_not_fit_into_memory_ends_with_advice(
    make_network: Make, make_batches: Make, make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_network()

    def refuse(*_: Any) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(network, "forward_with_gates", refuse)
    before = copy.deepcopy(network.state_dict())
    reported = r"batch of 2 images of 16x16 at iteration 1\. Set batch_size to 1 and accumulation_steps to 4"
    with pytest.raises(torch.OutOfMemoryError, match=reported):
        make_trainer(network, make_batches(1), accumulation_steps=2).run()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
