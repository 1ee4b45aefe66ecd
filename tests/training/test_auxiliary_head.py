"""An auxiliary loss trains a stage of the encoder and its own head, and leaves no trace in the weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle.losses import CrossEntropyDiceLoss, I2NetLoss
from i2net_bundle.networks import ResNetEncoder, glas_i2net, learner_parameters, peer_network
from i2net_bundle.prediction import PaddedInferer
from i2net_bundle.training import AuxiliaryHead, TrainingNetwork, parameter_groups
from i2net_bundle.training.trainer import TERMS
from tests.networks.small_networks import small_i2net
from tests.training.runs import KilledError, Make, assert_equal, load, load_checkpoint, record


def assert_changed(after: nn.Module, before: nn.Module) -> None:
    for name, parameter in after.named_parameters():
        assert not torch.equal(parameter, before.get_parameter(name)), name


class TestHead:
    @pytest.mark.parametrize(("stage", "side"), [(1, 16), (3, 4), (4, 2)])
    def test_it_maps_its_stage_to_logits(self, stage: int, side: int) -> None:
        network = glas_i2net()
        head = AuxiliaryHead(network, 5, stage)
        _, levels = network.encoder(torch.rand(2, 3, 64, 64))
        assert head(levels).shape == (2, 5, side, side)
        for index, level in enumerate(levels):
            other = [torch.zeros_like(item) if number == index else item for number, item in enumerate(levels)]
            assert torch.equal(head.eval()(other), head(levels)) == (index != stage - 1), level.shape

    def test_the_third_stage_is_the_default(self) -> None:
        assert AuxiliaryHead(glas_i2net(), 1).layers[0].in_channels == ResNetEncoder(18).level_channels[2]

    @pytest.mark.parametrize(
        ("network", "stage", "named"),
        [
            (nn.Conv2d(3, 2, 1), 3, "from Conv2d, which has no encoder with levels"),
            (small_i2net(), 3, "from I2Net, whose encoder has 2 levels"),
            (small_i2net(), 0, "stage 0 cannot be taken"),
        ],
    )
    def test_a_network_without_the_stage_is_refused(self, network: nn.Module, stage: int, named: str) -> None:
        with pytest.raises(ValueError, match=named) as refusal:
            AuxiliaryHead(network, 2, stage)
        assert "Set auxiliary_weight to 0" in str(refusal.value)


class TestTrainingNetwork:
    @pytest.mark.parametrize(
        "network", [small_i2net(3, 2, in_channels=3), peer_network("bilinear"), peer_network("unet", "unet")]
    )
    def test_any_network_with_levels_returns_auxiliary_logits_of_the_image_s_size(self, network: nn.Module) -> None:
        head = AuxiliaryHead(network, 2, stage=2)
        image = torch.rand(2, 3, 48, 64)
        own, _, auxiliary = TrainingNetwork(network, head).eval()(image)
        assert torch.equal(own, network(image))
        expected = F.interpolate(head(network.encoder(image)[1]), (48, 64), mode="bilinear")
        torch.testing.assert_close(auxiliary, expected)

    def test_without_a_head_there_are_logits_and_gates_alone(self) -> None:
        assert len(TrainingNetwork(small_i2net())(torch.rand(1, 1, 16, 16))) == 2

    def test_no_hook_stays_in_the_network_even_after_a_fault(self) -> None:
        network = small_i2net()
        training = TrainingNetwork(network, AuxiliaryHead(network, 2, stage=2))
        training(torch.rand(1, 1, 16, 16))
        with pytest.raises(RuntimeError):
            training(torch.rand(1, 7, 16, 16))
        assert not network.encoder._forward_hooks

    def test_padding_is_cut_from_the_auxiliary_logits(self) -> None:
        network = small_i2net()
        training = TrainingNetwork(network, AuxiliaryHead(network, 2, stage=2)).eval()
        image = torch.rand(1, 1, 13, 11)
        outputs = PaddedInferer(8)(image, training)
        whole = training(F.pad(image, (0, 5, 0, 3), mode="replicate"))
        assert torch.equal(outputs[2], whole[2][..., :13, :11])
        assert torch.equal(outputs[0], whole[0][..., :13, :11])


class TestLoss:
    @pytest.mark.parametrize("gated", [True, False])
    def test_the_auxiliary_segmentation_loss_is_added_with_its_weight(self, gated: bool) -> None:
        network = small_i2net()
        logits, gates = network.forward_with_gates(torch.rand(2, 1, 16, 16))
        auxiliary, target = torch.randn(2, 2, 16, 16), torch.randint(0, 2, (2, 1, 16, 16))
        loss = I2NetLoss(CrossEntropyDiceLoss(), learner_parameters(network), auxiliary_weight=0.4)
        given: tuple[Tensor | None, ...] = (logits, gates if gated else None)
        plain, terms = loss(given, target), loss((*given, auxiliary), target)
        expected = CrossEntropyDiceLoss()(auxiliary, target)
        assert terms.keys() - plain.keys() == {"auxiliary"}
        torch.testing.assert_close(terms["auxiliary"], expected)
        torch.testing.assert_close(terms["loss"], plain["loss"] + 0.4 * expected)

    def test_a_negative_weight_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"auxiliary_weight must not be negative, got -0\.4"):
            I2NetLoss(CrossEntropyDiceLoss(), [], auxiliary_weight=-0.4)


class TestTraining:
    def test_its_gradient_reaches_the_stage_and_no_part_behind_it(self) -> None:
        network = small_i2net()
        head = AuxiliaryHead(network, 2, stage=2)
        _, _, auxiliary = TrainingNetwork(network, head)(torch.rand(2, 1, 16, 16))
        CrossEntropyDiceLoss()(auxiliary, torch.randint(0, 2, (2, 1, 16, 16))).backward()
        assert all(parameter.grad is not None for parameter in head.parameters())
        reached = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
        assert "encoder.stem.0.weight" in reached
        assert {name.partition(".")[0] for name in reached} == {"encoder"}

    def test_a_run_trains_the_head_and_records_its_loss(
        self, make_network: Make, make_batches: Make, make_trainer: Make
    ) -> None:
        network = make_network()
        head = AuxiliaryHead(network, 3, stage=2)
        before = copy.deepcopy(head)
        optimizer = torch.optim.SGD(parameter_groups(network, 0.01, 0.1, head))
        trainer = make_trainer(
            network, make_batches(2), optimizer, weights={"auxiliary_weight": 0.4}, auxiliary=head, max_epochs=1
        )
        trainer.run()
        assert_changed(head, before)
        assert "auxiliary" in trainer.state.output[TERMS]

    def test_the_head_trains_at_the_rate_of_what_is_no_encoder(self) -> None:
        network = small_i2net()
        head = AuxiliaryHead(network, 2, stage=2)
        rest, encoder = parameter_groups(network, 0.1, 0.1, head)
        assert {id(item) for item in head.parameters()} <= {id(item) for item in rest["params"]}
        assert {id(item) for item in encoder["params"]} == {id(item) for item in network.encoder.parameters()}

    def test_a_killed_run_resumes_to_the_same_weights_head_and_record(self, make_run: Make, tmp_path: Path) -> None:
        make_run(tmp_path / "whole", auxiliary_weight=0.4).trainer.run()
        with pytest.raises(KilledError):
            make_run(tmp_path / "killed", auxiliary_weight=0.4, kill_at=7).trainer.run()
        make_run(tmp_path / "killed", auxiliary_weight=0.4, resume=True).trainer.run()
        paths = [tmp_path / name / "checkpoints" / "epoch_0004.pt" for name in ("killed", "whole")]
        found, expected = map(load_checkpoint, paths)
        assert_equal(found, expected)
        assert expected["auxiliary_head"]["layers.1.num_batches_tracked"] == 12
        assert record(tmp_path / "killed") == record(tmp_path / "whole")
        assert "auxiliary" in record(tmp_path / "whole")[0]

    def test_the_weights_for_inference_are_those_of_the_network_alone(self, make_run: Make, tmp_path: Path) -> None:
        run = make_run(tmp_path, auxiliary_weight=0.4, max_epochs=1, weight_average=0.5)
        run.trainer.run()
        assert load(tmp_path / "model.pt").keys() == run.network.state_dict().keys()

    def test_a_run_is_not_resumed_with_a_head_that_it_did_not_have(self, make_run: Make, tmp_path: Path) -> None:
        settings = {"auxiliary_weight": "0.0"}
        make_run(tmp_path, max_epochs=1, settings=settings).trainer.run()
        changed: dict[str, Any] = {"settings": {"auxiliary_weight": "0.4"}, "auxiliary_weight": 0.4}
        with pytest.raises(ValueError, match=r"was trained with auxiliary_weight 0\.0, here 0\.4"):
            make_run(tmp_path, max_epochs=1, resume=True, **changed).trainer.run()
