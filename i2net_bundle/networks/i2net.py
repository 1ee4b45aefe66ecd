"""I²Net: encoder, neck, implicit decoder, head.

The parts are injected, so the networks for GlaS (ResNet-18), Synapse (bilinear U-Net) and Cityscapes (ResNet-50) are
configurations of one class. The functions below build these three networks of the paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from i2net_bundle.networks.decoder import ImplicitDecoder
from i2net_bundle.networks.encoders import ResNetEncoder, UNetEncoder
from i2net_bundle.networks.heads import DecodedHead, SkipHead, resize
from i2net_bundle.networks.neck import Neck


class I2Net(nn.Module):
    """Segmentation network of four parts.

    Args:
        encoder: maps an image to a skip feature and several levels, see `i2net_bundle.networks.encoders`.
        neck: maps levels to levels of equal width.
        decoder: maps levels to a decoded map and gates.
        head: maps skip feature and decoded map to logits at the resolution of the skip feature.
    """

    if TYPE_CHECKING:  # TorchScript evaluates annotations and rejects module types
        encoder: nn.Module
        decoder: ImplicitDecoder

    def __init__(self, encoder: nn.Module, neck: nn.Module, decoder: ImplicitDecoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.neck, self.decoder, self.head = encoder, neck, decoder, head

    def forward(self, image: Tensor) -> Tensor:
        """Segment an image (B, C, H, W): logits (B, O, H, W)."""
        return self.forward_with_gates(image)[0]

    def forward_with_gates(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Segment an image (B, C, H, W): logits (B, O, H, W), and gates (B, K, h, w) on the decoder's query grid."""
        skip, levels = self.encoder(image)
        decoded, gates = self.decoder(self.neck(levels))
        return resize(self.head(skip, decoded), image.shape[2], image.shape[3]), gates

    @torch.jit.unused
    def learner_parameters(self) -> list[tuple[Tensor, Tensor]]:
        """Weight (K, O, C) and bias (K, O) of every I²Layer."""
        return self.decoder.learner_parameters()


def glas_i2net(num_learners: int = 3, out_channels: int = 1, in_channels: int = 3) -> I2Net:
    """The paper's GlaS network: ResNet-18, four levels queried at 1/4, raw relative coordinates.

    Args:
        num_learners: K.
        out_channels: number of classes, or 1 for a sigmoid.
        in_channels: image channels.
    """
    encoder = ResNetEncoder(depth=18, in_channels=in_channels)
    neck = Neck(encoder.level_channels, 64)
    decoder = ImplicitDecoder(neck.out_channels, (128, 64), (128,), num_learners)
    return I2Net(encoder, neck, decoder, SkipHead(encoder.skip_channels, decoder.out_channels, out_channels))


def synapse_i2net(num_learners: int = 3, out_channels: int = 9, in_channels: int = 1) -> I2Net:
    """The paper's Synapse network: U-Net trunk, three levels queried at 1/2, Fourier encoding.

    Args:
        num_learners: K.
        out_channels: number of classes, background included.
        in_channels: image channels.
    """
    encoder = UNetEncoder(in_channels)
    neck = Neck(encoder.level_channels, 64)
    decoder = ImplicitDecoder(neck.out_channels, (128, 64), (128,), num_learners, pos_dim=8)
    return I2Net(encoder, neck, decoder, SkipHead(encoder.skip_channels, decoder.out_channels, out_channels))


def cityscapes_i2net(num_learners: int = 3, out_channels: int = 19, in_channels: int = 3) -> I2Net:
    """The paper's Cityscapes network: deep-stem ResNet-50, a wider decoder whose output is the logits.

    Args:
        num_learners: K.
        out_channels: number of classes.
        in_channels: image channels.
    """
    encoder = ResNetEncoder(depth=50, in_channels=in_channels, deep_stem=True)
    neck = Neck(encoder.level_channels, 256)
    decoder = ImplicitDecoder(neck.out_channels, (512, 256, 256, out_channels), (256, 128), num_learners, pos_dim=24)
    return I2Net(encoder, neck, decoder, DecodedHead())
