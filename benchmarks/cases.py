"""The networks that are compared: those of both tasks, their plain form, MONAI's and Table 1's, on the same input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.networks.nets import AttentionUnet, BasicUNet, FlexibleUNet, SegResNet, SwinUNETR
from torch import Tensor, nn

from i2net_bundle.losses import BoundaryWeightedLoss, CrossEntropyDiceLoss, I2NetLoss
from i2net_bundle.networks import I2Net, glas_i2net, peer_network, synapse_i2net
from i2net_bundle.networks.peers.network import NAMES as DECODERS
from i2net_bundle.networks.placement import for_training

OURS, PLAIN = "I²Net", "I²Net, plain form"
TASKS = {"GlaS": (3, 1, 512), "Synapse": (1, 9, 224)}
"""Channels, classes and side of the images."""

_UNET_WIDTHS = (64, 128, 256, 512)
PEERS: dict[str, Callable[[int, int], nn.Module]] = {
    "FlexibleUNet (ResNet-18)": lambda channels, classes: FlexibleUNet(channels, classes, "resnet18", spatial_dims=2),
    "BasicUNet": lambda channels, classes: BasicUNet(2, channels, classes),
    "AttentionUnet": lambda channels, classes: AttentionUnet(2, channels, classes, _UNET_WIDTHS, (2, 2, 2)),
    "SwinUNETR": lambda channels, classes: SwinUNETR(channels, classes, spatial_dims=2),
    "SegResNet": lambda channels, classes: SegResNet(2, in_channels=channels, out_channels=classes),
}
TRUNKS = {"GlaS": "resnet18", "Synapse": "unet"}
"""Trunks on which the decoders of Table 1 stand: those of I²Net."""


def network(name: str, task: str, num_learners: int = 3) -> nn.Module:
    """A network by its name in the tables."""
    torch.manual_seed(0)
    channels, classes, _ = TASKS[task]
    if name in PEERS:
        return PEERS[name](channels, classes)
    if name in DECODERS:
        return peer_network(name, TRUNKS[task], classes, channels)
    built: I2Net = {"GlaS": glas_i2net, "Synapse": synapse_i2net}[task](num_learners)
    return built


def images(task: str, batch: int, side: int) -> Tensor:
    """Random images (B, C, side, side)."""
    return torch.randn(batch, TASKS[task][0], side, side, generator=torch.Generator().manual_seed(0))


def training_step(
    name: str,
    task: str,
    batch: int,
    side: int,
    num_learners: int = 3,
    weights: tuple[float, float] = (0.25, 0.25),
    bfloat16: bool = False,
    device: str = "cpu",
) -> Callable[[], None]:
    """One training step without the optimiser: forward, losses, backward.

    Every network is placed as the bundle places it for training; the plain form keeps its plain parts.

    Args:
        name: of the network; for a network of Table 1, its decoder.
        task: GlaS or Synapse.
        batch: number of images.
        side: of the images.
        num_learners: K.
        weights: of gate shaping and of learner orthogonalization.
        bfloat16: whether the network runs under autocast.
        device: device of the step.
    """
    net = for_training(network(name, task, num_learners).train(), device, fast=name != PLAIN)
    image = images(task, batch, side).to(device)
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(0, max(2, TASKS[task][1]), (batch, 1, side, side), generator=generator).to(device)
    segmentation = BoundaryWeightedLoss() if task == "GlaS" else CrossEntropyDiceLoss()
    loss: nn.Module | None = None
    forward: Callable[[Tensor], Any] = net
    if isinstance(net, I2Net):
        loss = I2NetLoss(segmentation, net.learner_parameters(), lambda_gs=weights[0], lambda_lo=weights[1])
        forward = net.forward_with_gates

    def step() -> None:
        net.zero_grad(set_to_none=True)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16):
            output = forward(image)
        if loss is not None:
            loss(output, target)["loss"].backward()
        else:
            segmentation(output.float(), target).backward()

    return step
