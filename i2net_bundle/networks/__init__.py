"""Image -> features -> implicit decoder -> logits."""

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
    "glas_i2net",
    "synapse_i2net",
]
