"""A small network, its loss, and batches made of numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from i2net_bundle import hardware
from i2net_bundle.losses import CrossEntropyDiceLoss, I2NetLoss
from i2net_bundle.networks import I2Net, learner_parameters
from i2net_bundle.training import AuxiliaryHead, SegmentationTrainer, TrainingNetwork
from tests.networks.small_networks import small_i2net
from tests.training.runs import Make, Run, run_maker
from tests.training.steps import LEARNING_RATE


@pytest.fixture(scope="session")
def make_network() -> Callable[..., I2Net]:
    """Build a network of some thousand parameters, in a given random state."""

    def make(seed: int = 0, num_learners: int = 2, num_classes: int = 3) -> I2Net:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return small_i2net(num_learners, num_classes)

    return make


@pytest.fixture(scope="session")
def make_loss() -> Callable[..., I2NetLoss]:
    """Build a network's loss."""

    def make(network: I2Net, **weights: float) -> I2NetLoss:
        return I2NetLoss(CrossEntropyDiceLoss(), learner_parameters(network), **weights)

    return make


@pytest.fixture(scope="session")
def make_batches() -> Callable[..., list[dict[str, Any]]]:
    """Make batches of two 16×16 images with three classes; image i of batch b is called "b/i"."""

    def make(count: int, num_classes: int = 3) -> list[dict[str, Any]]:
        generator = torch.Generator().manual_seed(0)
        return [
            {
                "image": torch.rand(2, 1, 16, 16, generator=generator),
                "label": torch.randint(0, num_classes, (2, 1, 16, 16), generator=generator, dtype=torch.uint8),
                "case": [f"{index}/0", f"{index}/1"],
            }
            for index in range(count)
        ]

    return make


@pytest.fixture(scope="session")
def make_trainer(make_loss: Callable[..., I2NetLoss]) -> Callable[..., SegmentationTrainer]:
    """Build a trainer of plain SGD unless an optimizer is given; ``weights`` are those of the loss."""

    def make(
        network: I2Net,
        batches: Any,
        optimizer: torch.optim.Optimizer | None = None,
        weights: dict[str, float] | None = None,
        loss: nn.Module | None = None,
        auxiliary: AuxiliaryHead | None = None,
        **kwargs: Any,
    ) -> SegmentationTrainer:
        arguments = {"device": torch.device("cpu"), "max_epochs": 1, **kwargs}
        return SegmentationTrainer(
            train_data_loader=batches,
            network=TrainingNetwork(network, auxiliary),
            optimizer=optimizer or torch.optim.SGD(network.parameters(), lr=LEARNING_RATE),
            loss_function=loss or make_loss(network, **(weights or {})),
            **arguments,
        )

    return make


@pytest.fixture(scope="module")
def make_run(tmp_path_factory: pytest.TempPathFactory, make_network: Make, make_trainer: Make) -> Callable[..., Run]:
    """Build a complete small run; see `run_maker`."""
    return run_maker(tmp_path_factory.mktemp("ct"), make_network, make_trainer)


@pytest.fixture
def uninterrupted(make_run: Make, tmp_path: Path) -> Run:
    """A run of 4 epochs of 3 iterations in `tmp_path`/whole."""
    run = make_run(tmp_path / "whole")
    run.trainer.run()
    return run


@pytest.fixture
def bfloat16_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use bfloat16 even on processors that emulate it: the results are the same."""
    monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda device_type: True)
