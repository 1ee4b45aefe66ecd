"""Training with maps that are made anew is training with maps that are kept."""

from __future__ import annotations

import contextlib
import copy
import gc

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F

from i2net_bundle.losses import CrossEntropyDiceLoss, I2NetLoss
from i2net_bundle.networks.fast.batch_norm import norm_relu
from i2net_bundle.networks.lean_activations import lean_activations
from tests.networks.small_networks import assert_gradients_close, randomise_batch_norms, small_i2net


@pytest.fixture
def layers() -> nn.ModuleDict:
    torch.manual_seed(0)
    layers = nn.ModuleDict({"norm": nn.BatchNorm2d(4), "next": nn.Conv2d(4, 5, 3)})
    randomise_batch_norms(layers)
    return layers.train()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])
def test_gradients_and_statistics_stay(
    layers: nn.ModuleDict, memory_format: torch.memory_format, dtype: torch.dtype
) -> None:
    image = torch.randn(2, 4, 9, 7).to(dtype).contiguous(memory_format=memory_format)
    found = []
    for context in (contextlib.nullcontext(), lean_activations()):
        net, x = copy.deepcopy(layers), image.clone().requires_grad_()
        with context, torch.autocast("cpu", enabled=dtype == torch.bfloat16):
            y = norm_relu(x, net["norm"])
            # read by a layer, by one that pools, and as a view
            loss = net["next"](y).sin().sum() + F.max_pool2d(y, 3).sum()
            loss = loss + F.linear(y.permute(0, 2, 3, 1), torch.arange(4.0).to(y)[None]).cos().sum()
        for _ in range(2):  # the second time as well
            loss.backward(retain_graph=True)
        found.append({"x": x.grad} | {name: p.grad for name, p in net.named_parameters()} | dict(net.state_dict()))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("lean", [False, True], ids=["as usual", "lean"])
def test_maps_are_not_kept(layers: nn.ModuleDict, lean: bool) -> None:
    with lean_activations() if lean else contextlib.nullcontext():
        y = norm_relu(torch.randn(2, 4, 9, 7, requires_grad=True), layers["norm"])
        output = layers["next"](y)
    memory = StorageWeakRef(y.untyped_storage())
    del y
    assert memory.expired() == lean
    output.sum().backward()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])
def test_a_network_trains_the_same(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    network, image = small_i2net().train().to(memory_format=memory_format), torch.randn(2, 1, 24, 24)
    losses = I2NetLoss(CrossEntropyDiceLoss(), network.decoder.learner_parameters())
    gradients = []
    for context in (contextlib.nullcontext(), lean_activations()):
        network.zero_grad()
        with context:
            output = network.forward_with_gates(image)
        loss = losses(output, (image > 0).long())["loss"]
        for _ in range(2):  # the second time as well
            loss.backward(retain_graph=True)
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters()})
    assert_gradients_close(gradients[1], gradients[0])


@pytest.mark.parametrize("backward", [False, True], ids=["forward only", "and backward of the gates"])
def test_what_is_not_run_backward_leaves_nothing_behind(backward: bool) -> None:
    network, image = small_i2net().train(), torch.randn(2, 1, 24, 24)

    def tensors_after_a_forward_pass() -> int:
        with lean_activations():
            _, gates = network.forward_with_gates(image)
        if backward:
            gates.square().sum().backward()
        del gates
        gc.collect()
        return sum(isinstance(thing, Tensor) for thing in gc.get_objects())

    tensors_after_a_forward_pass()
    assert tensors_after_a_forward_pass() == tensors_after_a_forward_pass()


def test_maps_that_its_backward_pass_needed_go_with_it(layers: nn.ModuleDict) -> None:
    x = torch.randn(2, 4, 9, 7, requires_grad=True) * 1
    memory = StorageWeakRef(x.untyped_storage())
    with lean_activations():
        loss = layers["next"](norm_relu(x, layers["norm"])).sum()
    del x
    assert not memory.expired()
    loss.backward()
    assert memory.expired()


def test_changes_in_place_are_seen(layers: nn.ModuleDict) -> None:
    x = torch.randn(2, 4, 9, 7, requires_grad=True) * 1
    with lean_activations():
        y = norm_relu(x, layers["norm"])
        y.add_(1)
        loss = layers["next"](y).square().sum()
    loss.backward(retain_graph=True)
    found = layers["next"].weight.grad.clone()
    layers["next"].zero_grad()
    layers["next"](y.detach()).square().sum().backward()
    torch.testing.assert_close(found, layers["next"].weight.grad)
    with torch.no_grad():
        x.add_(1)
    with pytest.raises(RuntimeError, match="modified in place"):
        loss.backward()


def test_a_single_value_per_channel_is_refused_as_by_pytorch(layers: nn.ModuleDict) -> None:
    with lean_activations(), pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_relu(torch.randn(1, 4, 1, 1), layers["norm"])
