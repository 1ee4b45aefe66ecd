"""The loss of the channel that separates glands, and its place in the whole objective."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from i2net_bundle.losses import BoundaryWeightedLoss, I2NetLoss, SeparationLoss
from i2net_bundle.networks import glas_i2net
from i2net_bundle.networks.weights import load_matching
from i2net_bundle.training import TrainingNetwork


def test_contours_by_hand() -> None:
    logits = torch.tensor([0.0, math.log(3)]).reshape(1, 1, 1, 2)  # p = 1/2, 3/4
    target = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    cross_entropy = (math.log(2) + math.log(4 / 3)) / 2
    overlap, total = 3 / 4, 1 / 2 + 3 / 4 + 1
    expected = cross_entropy + 1 - (2 * overlap + 1) / (total + 1)
    assert SeparationLoss("contour")(logits, target).item() == pytest.approx(expected, rel=1e-6)
    assert SeparationLoss("marker")(logits, target).item() == pytest.approx(expected, rel=1e-6)


def test_the_loss_of_distances_is_0_for_the_distances_themselves_alone() -> None:
    target = torch.linspace(0, 1, 11).reshape(1, 1, 1, 11)
    loss = SeparationLoss("distance")
    assert loss(target.logit(eps=1e-7), target).item() == pytest.approx(0, abs=1e-5)
    assert loss(target.logit(eps=1e-7) + 0.5, target) > 1e-3


def test_no_separation_has_no_loss() -> None:
    with pytest.raises(ValueError, match="no loss for separation 'none'"):
        SeparationLoss("none")


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 16, 16, generator=generator, requires_grad=True)
    target = torch.randint(0, 2, (2, 2, 16, 16), generator=generator).float()
    return logits, target


def test_the_objective_adds_the_separation_to_the_segmentation_of_the_first_channel(
    batch: tuple[torch.Tensor, torch.Tensor],
) -> None:
    logits, target = batch
    segmentation, separation = BoundaryWeightedLoss(), SeparationLoss("contour")
    loss = I2NetLoss(segmentation, [], separation=separation, separation_weight=0.7)
    terms = loss((logits, None, logits), target)
    own = [segmentation(logits[:, :1], target[:, :1]), separation(logits[:, 1:], target[:, 1:])]
    assert terms.keys() == {"loss", "segmentation", "separation"}
    assert torch.equal(terms["segmentation"], own[0]) and torch.equal(terms["separation"], own[1])
    assert terms["loss"].item() == pytest.approx((own[0] + 0.7 * own[1]).item(), rel=1e-6)
    terms["loss"].backward()
    assert logits.grad is not None and (logits.grad.abs().sum((0, 2, 3)) > 0).all()


def test_a_weight_of_0_leaves_the_separation_out_and_a_negative_one_is_refused(
    batch: tuple[torch.Tensor, torch.Tensor],
) -> None:
    logits, target = batch
    loss = I2NetLoss(BoundaryWeightedLoss(), [], separation=SeparationLoss("contour"), separation_weight=0)
    assert loss((logits, None), target).keys() == {"loss", "segmentation"}
    with pytest.raises(ValueError, match="separation_weight must not be negative"):
        I2NetLoss(BoundaryWeightedLoss(), [], separation_weight=-1)


def test_a_network_of_one_channel_is_refused(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, target = batch
    loss = I2NetLoss(BoundaryWeightedLoss(), [], separation=SeparationLoss("contour"))
    with pytest.raises(ValueError, match="one channel, which leaves none to separate glands"):
        loss((logits[:, :1], None), target)


def test_weights_of_one_channel_start_a_network_of_two(tmp_path: object) -> None:
    path = f"{tmp_path}/model.pt"
    torch.manual_seed(0)
    torch.save(glas_i2net(1, out_channels=1).state_dict(), path)
    network: nn.Module = glas_i2net(1, out_channels=2)
    assert set(load_matching(network, path)) == {"head.conv.weight", "head.conv.bias"}
    network.eval()
    assert TrainingNetwork(network)(torch.zeros(1, 3, 64, 64))[0].shape == (1, 2, 64, 64)  # type: ignore[union-attr]
