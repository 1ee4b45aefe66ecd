"""Switching between plain and fast form, and the self-check of a device before it."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from monai.networks.nets import UNet
from torch import Tensor

from i2net_bundle.networks import for_inference, for_training, glas_i2net, synapse_i2net
from i2net_bundle.networks.fast import FAST_FORMS, accelerate, self_check
from i2net_bundle.networks.fast.decoder import FastImplicitDecoder
from i2net_bundle.networks.fast.head import FastSkipHead
from tests.networks.small_networks import assert_gradients_close, randomise_batch_norms, small_i2net

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _fresh_proof() -> None:
    torch.manual_seed(0)
    self_check.disagreement.cache_clear()
    yield
    self_check.disagreement.cache_clear()


@pytest.mark.parametrize("build", [glas_i2net, synapse_i2net])
def test_the_fast_network_has_the_plain_ones_parameters_by_name(build: type) -> None:
    plain = build().eval()
    names, values = zip(*plain.state_dict().items(), strict=True)
    fast = accelerate(copy.deepcopy(plain))
    assert {type(module) for module in fast.modules()} >= {FastImplicitDecoder, FastSkipHead}
    assert tuple(fast.state_dict()) == names
    assert all(torch.equal(value, found) for value, found in zip(values, fast.state_dict().values(), strict=True))


@pytest.mark.parametrize(("build", "channels"), [(glas_i2net, 3), (synapse_i2net, 1)])
def test_the_fast_network_gives_the_plain_ones_logits_and_gates(build: type, channels: int) -> None:
    plain = build().eval()
    randomise_batch_norms(plain)
    fast, image = accelerate(copy.deepcopy(plain)), torch.randn(2, channels, 33, 47)
    with torch.no_grad():
        for found, expected in zip(fast.forward_with_gates(image), plain.forward_with_gates(image), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_training_gives_the_same_gradients_in_both_forms() -> None:
    plain = small_i2net(pos_dim=4).double().train()
    fast = accelerate(copy.deepcopy(plain))
    image = torch.randn(2, 1, 17, 23).double()
    found = []
    for network in (fast, plain):
        logits, gates = network.forward_with_gates(image)
        (logits.square().mean() + gates.square().mean()).backward()
        found.append({name: parameter.grad for name, parameter in network.named_parameters()})
    assert_gradients_close(*found)


def test_a_network_without_fast_parts_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    unet = UNet(2, 1, 2, (4, 8), (2,))
    assert accelerate(unet) is unet
    assert self_check.disagreement.cache_info().currsize == 0
    assert not caplog.records


def test_the_setting_fast_false_keeps_the_plain_form() -> None:
    for place in (for_training, for_inference):
        network = place(small_i2net(), "cpu", fast=False)
        assert not any(isinstance(module, tuple(FAST_FORMS.values())) for module in network.modules())
        assert any(isinstance(module, tuple(FAST_FORMS.values())) for module in place(network, "cpu").modules())


def test_the_forms_agree_on_this_device() -> None:
    assert self_check.disagreement(CPU) is None


def test_the_proof_is_given_once_and_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    accelerate(small_i2net().eval())
    accelerate(small_i2net().eval())
    assert self_check.disagreement.cache_info().misses == 1
    torch.set_rng_state(before)


def test_the_self_check_works_inside_inference_mode() -> None:
    with torch.inference_mode():
        assert self_check.disagreement(CPU) is None


WRONG_RESULTS = {
    "the decoder's values in evaluation": (
        "folded", "FoldedDecoder.__call__", lambda result: (result[0] * 1.01, result[1]),
    ),
    "the values of the gated layers": ("decoder", "gated_linear", lambda result: result + 0.01),
    "the head's values": ("head", "pointwise", lambda result: result * 1.01),
    "not a number": ("head", "pointwise", lambda result: result * float("nan")),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(WRONG_RESULTS))
def test_a_device_with_wrong_numbers_gets_the_plain_form_and_a_warning(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module, name, spoil = WRONG_RESULTS[fault]
    target = f"i2net_bundle.networks.fast.{module}.{name}"
    original = _located(target)
    monkeypatch.setattr(target, lambda *args, **options: spoil(original(*args, **options)))
    with caplog.at_level(logging.WARNING):
        network = accelerate(small_i2net())
    assert not any(isinstance(part, tuple(FAST_FORMS.values())) for part in network.modules())
    assert (
        "cpu: using the plain form of the network instead of the fast one: fast and plain form differ in" in caplog.text
    )


def test_a_wrong_first_derivative_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    target = "i2net_bundle.networks.fast.gated_linear.learner_gradient"
    original = _located(target)

    def doubled(*args: object) -> tuple[Tensor, Tensor]:
        weight, bias = original(*args)
        return 2 * weight, bias

    monkeypatch.setattr(target, doubled)
    assert "differ in training" in str(self_check.disagreement(CPU))


def test_a_wrong_second_derivative_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    target = "i2net_bundle.networks.fast.gated_linear.mix_and_gate_gradient"
    original = _located(target)

    def without_gate(*args: object) -> tuple[Tensor, Tensor]:
        mixed, gate = original(*args)
        return mixed, torch.zeros_like(gate)

    monkeypatch.setattr(target, without_gate)
    assert "differ in training" in str(self_check.disagreement(CPU))


def test_a_device_whose_kernels_fail_gets_the_plain_form(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*args: object, **options: object) -> None:
        raise NotImplementedError("The operator 'aten::_embedding_bag' is not implemented for this device.\nMore")

    monkeypatch.setattr("i2net_bundle.networks.fast.gated_linear.F.embedding_bag", missing)
    with caplog.at_level(logging.WARNING):
        network = accelerate(small_i2net().eval())
        assert network(torch.randn(1, 1, 16, 16)).shape == (1, 2, 16, 16)
    assert "the self-check fails (NotImplementedError: The operator 'aten::_embedding_bag'" in caplog.text


def _located(target: str) -> object:
    module, _, name = target.removeprefix("i2net_bundle.networks.fast.").partition(".")
    found: object = __import__(f"i2net_bundle.networks.fast.{module}", fromlist=["_"])
    for part in name.split("."):
        found = getattr(found, part)
    return found
