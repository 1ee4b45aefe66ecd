"""The training objective: its terms, their weights, and what a term that is switched off costs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2net_bundle.losses import BoundaryWeightedLoss, CrossEntropyDiceLoss, I2NetLoss, total
from i2net_bundle.losses.gating import gate_expectation_smoothing, gate_instance_sharpening
from i2net_bundle.losses.orthogonalization import learner_cosines, learner_gradients, learner_orthogonalization
from i2net_bundle.networks import I2Net
from tests.networks.small_networks import assert_gradients_close, small_i2net

LEARNERS = [1, 2, 3, 4, 6, 8]
GATE_TERMS = {"gate_instance_sharpening", "gate_expectation_smoothing"}
LEARNER_TERMS = {"learner_orthogonalization", "learner_cosine"}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


class ScaledLoss(nn.Module):
    """A segmentation loss times a number."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale, self.loss = scale, CrossEntropyDiceLoss()

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return self.scale * self.loss(input, target)


class SumOfLogits(nn.Module):
    """A segmentation loss whose gradient is plain to see."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return input.sum()


def make_batch(classes: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 1, 17, 23, generator=generator), torch.randint(
        0, classes, (2, 1, 17, 23), generator=generator
    )


def make_loss(network: I2Net, segmentation: nn.Module | None = None, **weights: float) -> I2NetLoss:
    return I2NetLoss(segmentation or CrossEntropyDiceLoss(), network.decoder.learner_parameters(), **weights)


def gradients_of(loss: Tensor, network: nn.Module) -> dict[str, Tensor]:
    names, parameters = zip(*network.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return {name: torch.zeros(()) if g is None else g for name, g in zip(names, found, strict=True)}


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("a term that is switched off is computed")


def test_total_by_hand() -> None:
    weight, bias = (
        torch.tensor([[[1.0]], [[2.0]]], requires_grad=True),
        torch.tensor([[0.0], [3.0]], requires_grad=True),
    )
    # L_seg = w_0 + w_1 + b_1 = 6: learners' gradients (1, 0) and (1, 1), cos² = 1/2, L_lo = (1/2) / (2 · 1) = 1/4
    logits = torch.cat([weight.flatten(), bias[1]])
    # gates (1/2, 1/2) everywhere: sharpening ln 2, smoothing -ln 2, shaping ln 2 - ln 2 / 2
    gates = torch.full((1, 2, 3, 3), 0.5)
    terms = I2NetLoss(SumOfLogits(), [(weight, bias)])((logits, gates), torch.empty(0))
    expected = {
        "loss": 6 + 0.25 * math.log(2) / 2 + 0.25 / 4,
        "segmentation": 6.0,
        "gate_instance_sharpening": math.log(2),
        "gate_expectation_smoothing": -math.log(2),
        "learner_orthogonalization": 0.25,
        "learner_cosine": math.sqrt(0.5),
    }
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(expected)


class TestTotal:
    @pytest.mark.parametrize("weights", [(0.25, 0.5, 0.25), (1.5, 0.1, 0.7)], ids=str)
    @pytest.mark.parametrize("num_learners", [2, 3, 4])
    def test_value_and_gradient_are_the_weighted_sums(
        self, num_learners: int, weights: tuple[float, float, float]
    ) -> None:
        network, (image, target) = small_i2net(num_learners, pos_dim=4), make_batch()
        lambda_gs, lambda_ges, lambda_lo = weights
        logits, gates = network.forward_with_gates(image)
        found = make_loss(network, lambda_gs=lambda_gs, lambda_ges=lambda_ges, lambda_lo=lambda_lo)(
            (logits, gates), target
        )
        segmentation = CrossEntropyDiceLoss()(logits, target)
        shaping = gate_instance_sharpening(gates) + lambda_ges * gate_expectation_smoothing(gates)
        cosines = learner_cosines(learner_gradients(segmentation, network.decoder.learner_parameters()))
        orthogonalization = learner_orthogonalization(cosines, num_learners)
        torch.testing.assert_close(found["loss"], segmentation + lambda_gs * shaping + lambda_lo * orthogonalization)
        torch.testing.assert_close(found["learner_cosine"], cosines.abs().mean().detach())
        parts = [gradients_of(part, network) for part in (segmentation, shaping, orthogonalization)]
        expected = {name: parts[0][name] + lambda_gs * parts[1][name] + lambda_lo * parts[2][name] for name in parts[0]}
        assert_gradients_close(gradients_of(found["loss"], network), expected, rtol=1e-3, atol=1e-5)

    def test_only_the_loss_can_be_differentiated(self) -> None:
        network, (image, target) = small_i2net(), make_batch()
        terms = make_loss(network)(network.forward_with_gates(image), target)
        assert set(terms) == {"loss", "segmentation"} | GATE_TERMS | LEARNER_TERMS
        assert [name for name, value in terms.items() if value.requires_grad] == ["loss"]
        assert all(value.ndim == 0 for value in terms.values())

    @pytest.mark.parametrize("num_learners", LEARNERS)
    def test_any_number_of_learners_gives_finite_terms_and_gradients(self, num_learners: int) -> None:
        network, (image, target) = small_i2net(num_learners), make_batch()
        terms = make_loss(network)(network.forward_with_gates(image), target)
        assert (terms.keys() >= LEARNER_TERMS) == (num_learners > 1)
        assert all(torch.isfinite(value) for value in terms.values())
        terms["loss"].backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name

    @pytest.mark.parametrize("scale", [1e-3, 50.0])
    def test_scaling_the_segmentation_loss_leaves_the_orthogonalization_alone(self, scale: float) -> None:
        network, (image, target) = small_i2net(), make_batch()
        outputs = network.forward_with_gates(image)
        one, scaled = (make_loss(network, ScaledLoss(factor))(outputs, target) for factor in (1.0, scale))
        torch.testing.assert_close(scaled["segmentation"], scale * one["segmentation"])
        for term in LEARNER_TERMS:
            torch.testing.assert_close(scaled[term], one[term])

    def test_a_binary_network_trains_on_the_boundary_weighted_loss(self) -> None:
        network, (image, target) = small_i2net(out_channels=1), make_batch()
        terms = make_loss(network, BoundaryWeightedLoss())(network.forward_with_gates(image), target)
        terms["loss"].backward()
        assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())

    def test_learners_follow_the_network_when_it_is_loaded_anew(self) -> None:
        network, other, (image, target) = small_i2net(), small_i2net(), make_batch()
        loss = make_loss(network)
        network.load_state_dict(other.state_dict())
        found = loss(network.eval().forward_with_gates(image), target)
        expected = make_loss(other)(other.eval().forward_with_gates(image), target)
        torch.testing.assert_close(found, expected)


class TestSwitchedOff:
    def test_without_orthogonalization_no_second_order_graph_is_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network, (image, target) = small_i2net(), make_batch()
        monkeypatch.setattr(total, "learner_gradients", refuse)
        monkeypatch.setattr(torch.autograd, "grad", refuse)
        terms = make_loss(network, lambda_lo=0)(network.forward_with_gates(image), target)
        assert set(terms) == {"loss", "segmentation"} | GATE_TERMS

    def test_without_gate_shaping_no_entropy_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network, (image, target) = small_i2net(), make_batch()
        for name in GATE_TERMS:
            monkeypatch.setattr(total, name, refuse)
        terms = make_loss(network, lambda_gs=0)(network.forward_with_gates(image), target)
        assert set(terms) == {"loss", "segmentation"} | LEARNER_TERMS

    def test_with_both_off_the_loss_is_the_segmentation_loss(self) -> None:
        network, (image, target) = small_i2net(), make_batch()
        logits, gates = network.forward_with_gates(image)
        terms = make_loss(network, lambda_gs=0, lambda_lo=0)((logits, gates), target)
        assert set(terms) == {"loss", "segmentation"}
        assert torch.equal(terms["loss"], CrossEntropyDiceLoss()(logits, target))

    def test_without_smoothing_no_mean_gate_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network, (image, target) = small_i2net(), make_batch()
        monkeypatch.setattr(total, "gate_expectation_smoothing", refuse)
        terms = make_loss(network, lambda_ges=0)(network.forward_with_gates(image), target)
        assert "gate_expectation_smoothing" not in terms

    def test_smoothing_alone_is_weighted_as_within_gate_shaping(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network, (image, target) = small_i2net(), make_batch()
        logits, gates = network.forward_with_gates(image)
        expected = CrossEntropyDiceLoss()(logits, target) + 0.25 * 0.5 * gate_expectation_smoothing(gates)
        monkeypatch.setattr(total, "gate_instance_sharpening", refuse)
        terms = make_loss(network, lambda_gis=0, lambda_lo=0)((logits, gates), target)
        assert set(terms) == {"loss", "segmentation", "gate_expectation_smoothing"}
        torch.testing.assert_close(terms["loss"], expected)

    def test_sharpening_has_a_weight_of_its_own(self) -> None:
        network, (image, target) = small_i2net(), make_batch()
        logits, gates = network.forward_with_gates(image)
        expected = CrossEntropyDiceLoss()(logits, target) + 0.25 * 3 * gate_instance_sharpening(gates)
        terms = make_loss(network, lambda_gis=3, lambda_ges=0, lambda_lo=0)((logits, gates), target)
        torch.testing.assert_close(terms["loss"], expected)

    def test_a_single_learner_needs_no_second_order_graph(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network, (image, target) = small_i2net(num_learners=1), make_batch()
        monkeypatch.setattr(total, "learner_gradients", refuse)
        terms = make_loss(network)(network.forward_with_gates(image), target)
        assert set(terms) == {"loss", "segmentation"} | GATE_TERMS

    def test_without_gradients_the_other_terms_are_still_given(self) -> None:
        network, (image, target) = small_i2net(), make_batch()
        with torch.no_grad():
            terms = make_loss(network)(network.forward_with_gates(image), target)
        assert set(terms) == {"loss", "segmentation"} | GATE_TERMS

    def test_the_default_does_make_a_second_order_graph(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network, (image, target) = small_i2net(), make_batch()
        monkeypatch.setattr(total, "learner_gradients", refuse)
        with pytest.raises(AssertionError, match="switched off"):
            make_loss(network)(network.forward_with_gates(image), target)


class TestBfloat16:
    @pytest.mark.parametrize("pos_dim", [0, 8], ids=["raw coordinates", "Fourier encoding"])
    def test_autocast_gives_finite_loss_and_gradients_near_float32s(self, pos_dim: int) -> None:
        network, (image, target) = small_i2net(pos_dim=pos_dim), make_batch()
        loss = make_loss(network)
        exact = loss(network.forward_with_gates(image), target)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = network.forward_with_gates(image)
        terms = loss(outputs, target)
        terms["loss"].backward()
        for name, value in terms.items():
            assert value.dtype == torch.float32
            assert value.item() == pytest.approx(exact[name].item(), abs=0.05), name
        for name, parameter in network.named_parameters():
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.dtype == torch.float32

    def test_loss_takes_bfloat16_outputs(self) -> None:
        network, (image, target) = small_i2net(), make_batch()
        logits, gates = network.forward_with_gates(image)
        terms = make_loss(network)((logits.bfloat16(), gates.bfloat16()), target)
        assert {value.dtype for value in terms.values()} == {torch.float32}


@pytest.mark.parametrize("name", ["lambda_gs", "lambda_gis", "lambda_ges", "lambda_lo"])
def test_a_negative_weight_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must not be negative, got -0.1"):
        I2NetLoss(CrossEntropyDiceLoss(), [], **{name: -0.1})


class TestWithoutGates:
    def test_the_segmentation_loss_is_all_that_is_left(self) -> None:
        network, (image, target) = nn.Conv2d(1, 2, 3, padding=1), make_batch()
        logits = network(image)
        terms = I2NetLoss(CrossEntropyDiceLoss(), [])((logits, None), target)
        assert set(terms) == {"loss", "segmentation"}
        assert torch.equal(terms["loss"], CrossEntropyDiceLoss()(logits, target)) and terms["loss"].requires_grad

    def test_gates_without_learners_are_shaped_and_nothing_is_made_orthogonal(self) -> None:
        network, (image, target) = small_i2net(), make_batch()
        terms = I2NetLoss(CrossEntropyDiceLoss(), [])(network.forward_with_gates(image), target)
        assert set(terms) == {"loss", "segmentation"} | GATE_TERMS
