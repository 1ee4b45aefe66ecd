"""Networks, images and losses of both tasks on a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from i2net_bundle.losses import BoundaryWeightedLoss, CrossEntropyDiceLoss, I2NetLoss
from i2net_bundle.networks import I2Net, glas_i2net, synapse_i2net
from i2net_bundle.networks.placement import for_training

TASKS = ("GlaS", "Synapse")
SIDE = 64


def network(task: str, device: torch.device | str, fast: bool = True) -> I2Net:
    """The network of a task with random weights, which do not depend on the device, in training mode."""
    torch.manual_seed(0)
    built = {"GlaS": glas_i2net, "Synapse": synapse_i2net}[task](3)
    placed = for_training(built.train(), device, fast)
    assert isinstance(placed, I2Net)
    return placed


def batch(task: str, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Images (2, C, 64, 64) and labels (2, 1, 64, 64)."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3 if task == "GlaS" else 1, SIDE, SIDE, generator=generator)
    labels = torch.randint(0, 2 if task == "GlaS" else 9, (2, 1, SIDE, SIDE), generator=generator)
    return images.to(device), labels.to(device)


def losses(task: str, net: I2Net) -> nn.Module:
    """All losses, learner orthogonalization with its second derivatives included."""
    segmentation = BoundaryWeightedLoss() if task == "GlaS" else CrossEntropyDiceLoss()
    return I2NetLoss(segmentation, net.learner_parameters(), lambda_gs=0.25, lambda_lo=0.25)


def step(task: str, net: I2Net, loss: nn.Module, images: Tensor, labels: Tensor, bfloat16: bool = False) -> Tensor:
    """Forward, losses and backward; returns the loss."""
    net.zero_grad(set_to_none=True)
    with torch.autocast(images.device.type, torch.bfloat16) if bfloat16 else nullcontext():
        output = net.forward_with_gates(images)
    total: Tensor = loss(output, labels)["loss"]
    total.backward()
    return total.detach()


@contextmanager
def no_synchronization() -> Iterator[None]:
    """Raise an error where the host waits for the GPU, as copies to the host do."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
