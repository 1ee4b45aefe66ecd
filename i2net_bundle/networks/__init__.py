"""Image -> features -> implicit decoder -> logits."""

from torch import nn

from i2net_bundle import hardware
from i2net_bundle.networks.contract import has_gates, learner_parameters, logits_and_gates
from i2net_bundle.networks.decoder import I2Layer, ImplicitDecoder
from i2net_bundle.networks.encoders import ResNetEncoder, UNetEncoder
from i2net_bundle.networks.i2net import I2Net, cityscapes_i2net, glas_i2net, synapse_i2net

__all__ = [
    "I2Layer",
    "I2Net",
    "ImplicitDecoder",
    "ResNetEncoder",
    "UNetEncoder",
    "cityscapes_i2net",
    "for_inference",
    "for_training",
    "glas_i2net",
    "has_gates",
    "learner_parameters",
    "logits_and_gates",
    "synapse_i2net",
]


def for_training(network: nn.Module, device: object, fast: bool = True) -> nn.Module:
    """Stand-in until the seam is there."""
    return hardware.for_training(network, device)  # type: ignore[arg-type]


def for_inference(network: nn.Module, device: object, fast: bool = True, compile: bool = False) -> nn.Module:
    """Stand-in until the seam is there."""
    return hardware.for_inference(network, device, compile)  # type: ignore[arg-type]
