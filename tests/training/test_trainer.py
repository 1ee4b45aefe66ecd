"""A step of the trainer equals a step written by hand."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle import hardware
from i2net_bundle.losses import CrossEntropyDiceLoss, I2NetLoss
from i2net_bundle.networks import I2Net, learner_parameters
from i2net_bundle.prediction import PaddedInferer
from i2net_bundle.training import SegmentationTrainer
from i2net_bundle.training.trainer import TERMS

Make = Callable[..., Any]
LEARNING_RATE = 0.01


def losses_by_hand(network: I2Net, batch: dict[str, Any], lambda_lo: float = 0.25) -> dict[str, Tensor]:
    """The paper's objective in plain loops, for labels of three classes."""
    logits, gates = network.forward_with_gates(batch["image"])
    label = batch["label"][:, 0].long()
    probability = logits.softmax(1)
    dice = []
    for index in range(3):
        p, t = probability[:, index], (label == index).float()
        dice.append(1 - (2 * (p * t).sum() + 1e-5) / ((p * p).sum() + (t * t).sum() + 1e-5))
    segmentation = 0.5 * F.cross_entropy(logits, label) + 0.5 * sum(dice) / 3
    sharpening = -(gates * gates.log()).sum(1).mean()
    mean = gates.mean((0, 2, 3))
    smoothing = (mean * mean.log()).sum()
    squares, absolutes = [], []
    for layer in network.decoder.layers:
        weight, bias = torch.autograd.grad(segmentation, [layer.weight, layer.bias], create_graph=True)
        for i, j in itertools.combinations(range(len(weight)), 2):
            u, v = (torch.cat([weight[k].flatten(), bias[k]]) for k in (i, j))
            cosine = (u * v).sum() / (u.norm() * v.norm())
            squares.append(cosine**2)
            absolutes.append(cosine.abs())
    k = gates.shape[1]
    orthogonalization = sum(squares) / (k * (k - 1))
    return {
        "loss": segmentation + 0.25 * (sharpening + 0.5 * smoothing) + lambda_lo * orthogonalization,
        "segmentation": segmentation,
        "gate_instance_sharpening": sharpening,
        "gate_expectation_smoothing": smoothing,
        "learner_orthogonalization": orthogonalization,
        "learner_cosine": sum(absolutes) / len(absolutes),
    }


def step_by_hand(network: I2Net, groups: Iterable[list[dict[str, Any]]]) -> None:
    """One SGD step per group of batches, with the mean of the batches' gradients."""
    for group in groups:
        gradients = [torch.zeros_like(parameter) for parameter in network.parameters()]
        for batch in group:
            loss = losses_by_hand(network.train(), batch)["loss"]
            for total, gradient in zip(gradients, torch.autograd.grad(loss, list(network.parameters())), strict=True):
                total += gradient / len(group)
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter -= LEARNING_RATE * gradient


def assert_same_state(network: nn.Module, other: nn.Module) -> None:
    torch.testing.assert_close(network.state_dict(), other.state_dict(), rtol=1e-3, atol=5e-5)


def on_iteration(trainer: SegmentationTrainer, handler: Callable[[Engine], None]) -> None:
    trainer.add_event_handler(Events.ITERATION_COMPLETED, handler)


def terms_of_run(trainer: SegmentationTrainer) -> list[dict[str, float]]:
    """Run and return every iteration's terms."""
    found: list[dict[str, float]] = []
    on_iteration(trainer, lambda engine: found.append({k: v.item() for k, v in engine.state.output[TERMS].items()}))
    trainer.run()
    return found


@pytest.mark.parametrize("num_learners", [2, 3])
def test_a_step_equals_one_by_hand(
    num_learners: int, make_network: Make, make_batches: Make, make_trainer: Make
) -> None:
    network = make_network(num_learners=num_learners)
    by_hand, batches = copy.deepcopy(network), make_batches(1)
    make_trainer(network, batches).run()
    step_by_hand(by_hand, [batches])
    assert_same_state(network, by_hand)
    with pytest.raises(AssertionError):
        assert_same_state(network, make_network(num_learners=num_learners))


def test_the_terms_equal_those_by_hand(make_network: Make, make_batches: Make, make_trainer: Make) -> None:
    network, batches = make_network(num_learners=3), make_batches(1)
    expected = losses_by_hand(copy.deepcopy(network).train(), batches[0])
    (terms,) = terms_of_run(make_trainer(network, batches))
    assert {name: terms[name] for name in expected} == pytest.approx(
        {k: v.item() for k, v in expected.items()}, rel=1e-4
    )


@pytest.mark.parametrize(
    ("num_batches", "accumulation_steps", "groups"),
    [(2, 2, [2]), (4, 2, [2, 2]), (3, 2, [2, 1]), (5, 3, [3, 2]), (2, 4, [2]), (3, 1, [1, 1, 1])],
    ids=["one pair", "two pairs", "short last pair", "short last triple", "group longer than the epoch", "none"],
)
def test_accumulated_gradients_are_the_mean_over_their_own_group(
    num_batches: int,
    accumulation_steps: int,
    groups: list[int],
    make_network: Make,
    make_batches: Make,
    make_trainer: Make,
) -> None:
    network, batches = make_network(), make_batches(num_batches)
    by_hand, rest = copy.deepcopy(network), iter(batches)
    make_trainer(network, batches, accumulation_steps=accumulation_steps).run()
    step_by_hand(by_hand, [list(itertools.islice(rest, size)) for size in groups])
    assert_same_state(network, by_hand)


def test_groups_end_with_their_epoch(make_network: Make, make_batches: Make, make_trainer: Make) -> None:
    network, batches = make_network(), make_batches(3)
    by_hand = copy.deepcopy(network)
    make_trainer(network, batches, accumulation_steps=2, max_epochs=2).run()
    step_by_hand(by_hand, [batches[:2], batches[2:]] * 2)
    assert_same_state(network, by_hand)


def test_the_network_trains_in_training_mode(make_network: Make, make_batches: Make, make_trainer: Make) -> None:
    network = make_network().eval()
    make_trainer(network, make_batches(1)).run()
    assert network.training
    counts = [module.num_batches_tracked.item() for module in network.modules() if hasattr(module, "running_mean")]
    assert set(counts) == {1}


def test_the_output_holds_the_batch_the_logits_and_the_loss(
    make_network: Make, make_batches: Make, make_trainer: Make
) -> None:
    batches = make_batches(1)
    trainer = make_trainer(make_network(), batches)
    trainer.run()
    output = trainer.state.output
    assert torch.equal(output["image"], batches[0]["image"])
    assert torch.equal(output["label"], batches[0]["label"])
    assert (output["pred"].shape, output["pred"].requires_grad) == ((2, 3, 16, 16), False)
    assert output["loss"] == output[TERMS]["loss"].item()
    assert all(term.ndim == 0 and not term.requires_grad for term in output[TERMS].values())


@pytest.fixture(autouse=True)
def bfloat16_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use bfloat16 even on processors that emulate it: the results are the same."""
    monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda device_type: True)


class TestAmp:
    """bfloat16 on the CPU."""

    def test_the_network_runs_in_bfloat16_and_its_parameters_stay_float32(
        self, make_network: Make, make_batches: Make, make_trainer: Make
    ) -> None:
        network, types = make_network(), set()
        optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=0.9)
        network.encoder.stem[0].register_forward_hook(lambda _module, _inputs, output: types.add(output.dtype))
        trainer = make_trainer(network, make_batches(3), optimizer, amp=True)
        before = copy.deepcopy(network.state_dict())
        trainer.run()
        assert types == {torch.bfloat16}
        assert (
            {p.dtype for p in network.parameters()} == {p.grad.dtype for p in network.parameters()} == {torch.float32}
        )
        assert {state["momentum_buffer"].dtype for state in optimizer.state.values()} == {torch.float32}
        assert not torch.equal(before["encoder.stem.0.weight"], network.state_dict()["encoder.stem.0.weight"])

    def test_losses_are_float32_and_near_those_without_amp(
        self, make_network: Make, make_batches: Make, make_trainer: Make
    ) -> None:
        trainers = [make_trainer(make_network(), make_batches(1), amp=amp) for amp in (False, True)]
        exact, rough = (terms_of_run(trainer)[0] for trainer in trainers)
        assert {term.dtype for term in trainers[1].state.output[TERMS].values()} == {torch.float32}
        assert rough.keys() == exact.keys()
        assert rough["loss"] == pytest.approx(exact["loss"], rel=0.02)
        assert rough != exact


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


def test_the_gradient_norm_is_that_of_the_whole_group(
    make_network: Make, make_batches: Make, make_trainer: Make
) -> None:
    network, batches = make_network(), make_batches(3)
    norms: list[float] = []
    trainer = make_trainer(network, batches, accumulation_steps=2)

    def measure(engine: Engine) -> None:
        squares = [parameter.grad.square().sum() for parameter in network.parameters()]
        norms.append(math.sqrt(sum(squares)))

    on_iteration(trainer, measure)
    terms = terms_of_run(trainer)
    assert ["gradient_norm" in found for found in terms] == [False, True, True]
    assert [found["gradient_norm"] for found in terms[1:]] == pytest.approx(norms[1:], rel=1e-4)


class TestHealth:
    """Recorded values of the learners."""

    @pytest.mark.parametrize("num_learners", [1, 2, 4])
    def test_mean_gates_sum_to_1_and_their_entropy_is_bounded(
        self, num_learners: int, make_network: Make, make_batches: Make, make_trainer: Make
    ) -> None:
        trainer = make_trainer(make_network(num_learners=num_learners), make_batches(2))
        for terms in terms_of_run(trainer):
            gates = [terms[f"mean_gate_{k}"] for k in range(num_learners)]
            assert sum(gates) == pytest.approx(1, abs=1e-5)
            assert min(gates) > 0
            assert f"mean_gate_{num_learners}" not in terms
            assert -1e-6 <= terms["gate_entropy"] <= math.log(num_learners) + 1e-6

    def test_mean_gates_are_those_of_the_forward_pass(
        self, make_network: Make, make_batches: Make, make_trainer: Make
    ) -> None:
        network, batches = make_network(num_learners=3), make_batches(1)
        gates = copy.deepcopy(network).train().forward_with_gates(batches[0]["image"])[1]
        (terms,) = terms_of_run(make_trainer(network, batches))
        assert [terms[f"mean_gate_{k}"] for k in range(3)] == pytest.approx(gates.mean((0, 2, 3)).tolist(), rel=1e-4)

    @pytest.mark.parametrize("num_learners", [2, 3])
    @pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
    def test_learner_cosine_is_the_same_with_and_without_the_penalty(
        self, num_learners: int, amp: bool, make_network: Make, make_batches: Make, make_trainer: Make
    ) -> None:
        found = []
        for lambda_lo in (0.25, 0.0):
            network = make_network(num_learners=num_learners)
            trainer = make_trainer(network, make_batches(1), weights={"lambda_lo": lambda_lo}, amp=amp)
            (terms,) = terms_of_run(trainer)
            assert ("learner_orthogonalization" in terms) == (lambda_lo > 0)
            found.append(terms["learner_cosine"])
        assert found[0] == pytest.approx(found[1], rel=1e-2 if amp else 1e-4)
        assert 0 < found[0] < 1

    def test_a_single_learner_has_no_cosine(self, make_network: Make, make_batches: Make, make_trainer: Make) -> None:
        (terms,) = terms_of_run(make_trainer(make_network(num_learners=1), make_batches(1)))
        assert not {"learner_cosine", "learner_orthogonalization"} & terms.keys()

    @pytest.mark.parametrize(
        ("weights", "absent"),
        [
            ({"lambda_gs": 0.0}, {"gate_instance_sharpening", "gate_expectation_smoothing"}),
            ({"lambda_lo": 0.0}, {"learner_orthogonalization"}),
        ],
        ids=["no gate shaping", "no orthogonalization"],
    )
    def test_a_weight_of_0_removes_its_terms(
        self, weights: dict[str, float], absent: set[str], make_network: Make, make_batches: Make, make_trainer: Make
    ) -> None:
        (terms,) = terms_of_run(make_trainer(make_network(), make_batches(1), weights=weights))
        assert not absent & terms.keys()


def test_images_with_metadata_train_as_those_without(
    make_network: Make, make_batches: Make, make_trainer: Make
) -> None:
    trained = []
    for image_type in (Tensor, MetaTensor):
        net, batches = make_network(), make_batches(2)
        for batch in batches:
            batch["image"] = image_type(batch["image"])
        make_trainer(net, batches).run()
        trained.append(net.state_dict())
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value)


class TestWithoutGates:
    """Any network trains; terms of gates and learners are left out."""

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


def test_a_batch_that_memory_does_not_hold_ends_with_advice(
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
