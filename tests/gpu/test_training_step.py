"""Network, losses and second derivatives on a GPU: the CPU's, the plain form's, and no hidden copies to the host."""

from __future__ import annotations

import pytest
import torch

from tests.gpu.steps import TASKS, batch, losses, network, no_synchronization, step


@pytest.mark.parametrize("task", TASKS)
def test_no_tensor_leaves_its_device(task: str) -> None:
    net = network(task, "meta", fast=False)  # the fast form compares figures with the plain one, which meta has not
    total = step(task, net, losses(task, net), *batch(task, "meta"))
    assert total.device.type == "meta"
    assert {parameter.grad.device.type for parameter in net.parameters() if parameter.grad is not None} == {"meta"}
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.gpu
@pytest.mark.parametrize("task", TASKS)
def test_logits_are_the_cpus(task: str, device: torch.device) -> None:
    images, _ = batch(task, "cpu")
    with torch.inference_mode():
        expected = network(task, "cpu").eval()(images)
        found = network(task, device).eval()(images.to(device))
    assert found.device.type == device.type
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.gpu
@pytest.mark.parametrize("task", TASKS)
def test_losses_and_gradients_of_the_fast_form_are_the_plain_forms(task: str, device: torch.device) -> None:
    found = {}
    for fast in (True, False):
        net = network(task, device, fast)
        total = step(task, net, losses(task, net), *batch(task, device))
        found[fast] = [total, *(parameter.grad for parameter in net.parameters())]
    for fast, plain in zip(found[True], found[False], strict=True):
        assert fast is not None and plain is not None
        # single elements of deep gradients differ by rounding; their norm does not
        assert float((fast - plain).norm()) < 1e-3 * float(plain.norm()) + 1e-7


@pytest.mark.gpu
@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("task", TASKS)
def test_a_few_steps_lower_the_loss(task: str, bfloat16: bool, device: torch.device) -> None:
    net = network(task, device)
    loss, data = losses(task, net), batch(task, device)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    totals = []
    for _ in range(6):
        totals.append(float(step(task, net, loss, *data, bfloat16=bfloat16)))
        optimizer.step()
    assert all(torch.isfinite(torch.tensor(totals)))
    assert totals[-1] < 0.9 * totals[0]


@pytest.mark.gpu
@pytest.mark.parametrize("task", TASKS)
def test_a_step_copies_nothing_to_the_host(task: str, gpu: torch.device) -> None:
    net = network(task, gpu)
    loss, data = losses(task, net), batch(task, gpu)
    step(task, net, loss, *data)  # the first one chooses algorithms and fills caches
    with no_synchronization():
        step(task, net, loss, *data)
