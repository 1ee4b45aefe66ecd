"""A step of the trainer equals a step written by hand."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle.networks import I2Net
from i2net_bundle.training.trainer import TERMS
from tests.training.runs import Make
from tests.training.steps import LEARNING_RATE, on_iteration, terms_of_run


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


def test_the_output_contains_the_batch_the_logits_and_the_loss(
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


@pytest.mark.usefixtures("bfloat16_is_used")
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
