"""A network without gates trains on the segmentation loss alone."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from i2net_bundle.losses import CrossEntropyDiceLoss, I2NetLoss
from i2net_bundle.networks import learner_parameters
from i2net_bundle.prediction import PaddedInferer
from tests.training.runs import Make
from tests.training.steps import LEARNING_RATE, terms_of_run


class TestWithoutGates:
    @pytest.fixture
    def network(self) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))

    def test_a_step_is_that_of_the_segmentation_loss_alone(
        self, network: nn.Module, make_batches: Make, make_trainer: Make
    ) -> None:
        by_hand, batches = copy.deepcopy(network), make_batches(2)
        optimizer = torch.optim.SGD(by_hand.parameters(), lr=LEARNING_RATE)
        for batch in batches:
            optimizer.zero_grad()
            CrossEntropyDiceLoss()(by_hand(batch["image"]), batch["label"]).backward()
            optimizer.step()
        loss = I2NetLoss(CrossEntropyDiceLoss(), learner_parameters(network))
        terms = terms_of_run(make_trainer(network, batches, loss=loss))
        assert [set(found) for found in terms] == [{"loss", "segmentation", "gradient_norm"}] * 2
        for found, expected in zip(network.parameters(), by_hand.parameters(), strict=True):
            torch.testing.assert_close(found, expected)

    def test_the_log_says_once_that_gate_terms_have_no_effect(
        self, network: nn.Module, make_batches: Make, make_trainer: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level("INFO", "i2net.training"):
            make_trainer(network, make_batches(3), loss=I2NetLoss(CrossEntropyDiceLoss(), [])).run()
        assert caplog.text.count("The network has no gates: lambda_gs, lambda_ges and lambda_lo have no effect") == 1

    @pytest.mark.parametrize("gated", [False, True], ids=["plain network", "network with gates"])
    def test_images_of_any_size_train_through_a_padding_inferer(
        self, network: nn.Module, gated: bool, make_network: Make, make_batches: Make, make_trainer: Make
    ) -> None:
        batches = make_batches(1)
        for name in ("image", "label"):
            batches[0][name] = batches[0][name][:, :, :13, :11]
        net = make_network() if gated else network
        loss = I2NetLoss(CrossEntropyDiceLoss(), learner_parameters(net))
        trainer = make_trainer(net, batches, loss=loss, inferer=PaddedInferer(8))
        (terms,) = terms_of_run(trainer)
        assert math.isfinite(terms["loss"]) and trainer.state.output["pred"].shape == (2, 3, 13, 11)
