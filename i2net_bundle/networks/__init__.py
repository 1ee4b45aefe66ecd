"""I²Net: encoder, neck, implicit decoder and head in their plain form; `networks.fast` has equivalent faster forms."""

from i2net_bundle.networks.contract import has_gates, learner_parameters, logits_and_gates
from i2net_bundle.networks.decoder import I2Layer, ImplicitDecoder
from i2net_bundle.networks.encoders import ResNetEncoder, UNetEncoder
from i2net_bundle.networks.i2net import I2Net, cityscapes_i2net, glas_i2net, synapse_i2net
from i2net_bundle.networks.peers import peer_network
from i2net_bundle.networks.placement import for_inference, for_training

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
    "peer_network",
    "synapse_i2net",
]
