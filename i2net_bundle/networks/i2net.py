"""I²Net: encoder -> neck -> implicit decoder -> head.

The parts are injected, so a task is a choice of parts: GlaS (ResNet-18), Synapse (bilinear U-Net) and Cityscapes
(ResNet-50) are configurations of one class; the functions below build the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle.networks.decoder import ImplicitDecoder
from i2net_bundle.networks.encoders import ConvNormReLU, ResNetEncoder, UNetEncoder


class Neck(nn.Module):
    """Project every encoder level to one width: 1×1 convolution, batch normalisation, ReLU.

    Args:
        in_channels: channels of each level.
        out_channels: common width.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int = 64) -> None:
        super().__init__()
        self.projections = nn.ModuleList(
            ConvNormReLU(nn.Conv2d(width, out_channels, kernel_size=1), nn.BatchNorm2d(out_channels), nn.ReLU())
            for width in in_channels
        )
        self.out_channels = (out_channels,) * len(in_channels)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Map levels (B, C_i, H_i, W_i) to (B, out_channels, H_i, W_i)."""
        projected: list[Tensor] = []
        for index, projection in enumerate(self.projections):
            projected.append(projection(levels[index]))
        return projected


class SkipHead(nn.Module):
    """Join the decoded map with the encoder's skip feature: resize, concatenate (skip first), 1×1 convolution.

    A 1×1 convolution commutes with a resize, whose weights sum to 1, and is the sum of its parts on what is
    concatenated: so the decoded map is mapped to the classes before it is resized, and nothing is concatenated.

    Args:
        skip_channels: channels of the skip feature.
        decoded_channels: channels of the decoded map.
        out_channels: classes, or 1 for a sigmoid.
    """

    def __init__(self, skip_channels: int, decoded_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(skip_channels + decoded_channels, out_channels, kernel_size=1)

    def forward(self, skip: Tensor, decoded: Tensor) -> Tensor:
        """Map skip (B, S, h, w) and decoded (B, D, …) to logits (B, O, h, w)."""
        of_skip, of_decoded = self.conv.weight.split([skip.shape[1], decoded.shape[1]], dim=1)
        logits = resize(pointwise(decoded, of_decoded), skip.shape[2], skip.shape[3])
        return pointwise(skip, of_skip, self.conv.bias) + logits


class DecodedHead(nn.Module):
    """The decoded map is the logits already (Cityscapes)."""

    def forward(self, skip: Tensor, decoded: Tensor) -> Tensor:
        """Return ``decoded``, ignoring ``skip``."""
        return decoded


class I2Net(nn.Module):
    """The whole segmentation network.

    Args:
        encoder: see `i2net_bundle.networks.encoders`.
        neck: levels to levels of one width.
        decoder: levels to (decoded map, gates).
        head: (skip, decoded map) to logits at the skip's resolution.
        divisor: images are continued by their border to sides that it divides, and the logits cut back. With the
            encoder's stride the cells of every level are whole pixels, as in training; otherwise they are stretched a
            little to cover the image. 1 leaves images as they are.
    """

    if TYPE_CHECKING:  # TorchScript reads annotations and knows no modules
        encoder: nn.Module
        decoder: ImplicitDecoder

    def __init__(
        self, encoder: nn.Module, neck: nn.Module, decoder: ImplicitDecoder, head: nn.Module, divisor: int = 1
    ) -> None:
        super().__init__()
        self.encoder, self.neck, self.decoder, self.head = encoder, neck, decoder, head
        self.divisor = divisor
        self.min_size: int = encoder.min_size  # type: ignore[assignment]

    def forward(self, image: Tensor) -> Tensor:
        """Segment an image (B, C, H, W) of any size: logits (B, O, H, W), float32 outside autocast."""
        return self.forward_with_gates(image)[0]

    @torch.jit.unused
    def learner_parameters(self) -> list[tuple[Tensor, Tensor]]:
        """Weight (K, O, C) and bias (K, O) of every I2Layer."""
        return self.decoder.learner_parameters()

    def forward_with_gates(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Segment an image and return the gates too.

        Args:
            image: (B, C, H, W).

        Returns:
            logits (B, O, H, W) and gates (B, K, h, w) on the decoder's query grid. What is smaller than the encoder can
            halve is continued by its border first; of the query grid, the cells that cover the image itself are kept.
        """
        height, width = image.shape[2], image.shape[3]
        image = self._continued(image)
        skip, levels = self.encoder(image)
        decoded, gates = self.decoder(self.neck(levels))
        rows, cols = (
            (height * gates.shape[2] + image.shape[2] - 1) // image.shape[2],
            (width * gates.shape[3] + image.shape[3] - 1) // image.shape[3],
        )
        logits = resize(self.head(skip, decoded), image.shape[2], image.shape[3])
        return logits[:, :, :height, :width], gates[:, :, :rows, :cols]

    def _continued(self, image: Tensor) -> Tensor:
        height, width = image.shape[2], image.shape[3]
        missing = [0, max(0, self.min_size - width), 0, max(0, self.min_size - height)]
        if self.divisor > 1:  # without max, for what is traced must hold for any size
            missing = [0, -width % self.divisor, 0, -height % self.divisor]
            if torch.jit.is_tracing():
                return F.pad(image, missing, mode="replicate")
        if max(missing) > 0:
            return F.pad(image, missing, mode="replicate")
        return image


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """1×1 convolution of (B, C, H, W) by weight (O, C, 1, 1) and bias (O,).

    Where channels lie last it is a product of matrices: to few classes its backward pass takes a quarter of the time of
    oneDNN's convolution.
    """
    exporting = torch.jit.is_scripting() or torch.jit.is_tracing()
    if exporting or not x.is_contiguous(memory_format=torch.channels_last):
        return F.conv2d(x, weight, bias)
    return F.linear(x.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resize of (B, C, …) to height × width, cell centres aligned to cell areas (``align_corners=False``)."""
    if x.shape[2] == height and x.shape[3] == width:
        return x
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)


def glas_i2net(num_learners: int = 3, out_channels: int = 1, in_channels: int = 3, divisor: int = 1) -> I2Net:
    """The paper's GlaS network: ResNet-18, four levels queried at 1/4, raw relative coordinates.

    Args:
        num_learners: K.
        out_channels: 1 for a sigmoid.
        in_channels: image channels.
        divisor: see `I2Net`; the encoder's stride is 32.
    """
    encoder = ResNetEncoder(depth=18, in_channels=in_channels)
    neck = Neck(encoder.level_channels, 64)
    decoder = ImplicitDecoder(neck.out_channels, (128, 64), (128,), num_learners)
    head = SkipHead(encoder.skip_channels, decoder.out_channels, out_channels)
    return I2Net(encoder, neck, decoder, head, divisor)


def synapse_i2net(num_learners: int = 3, out_channels: int = 9, in_channels: int = 1) -> I2Net:
    """The paper's Synapse network: U-Net trunk, three levels queried at 1/2, Fourier encoding.

    Args:
        num_learners: K.
        out_channels: background and organs.
        in_channels: image channels.
    """
    encoder = UNetEncoder(in_channels)
    neck = Neck(encoder.level_channels, 64)
    decoder = ImplicitDecoder(neck.out_channels, (128, 64), (128,), num_learners, pos_dim=8)
    return I2Net(encoder, neck, decoder, SkipHead(encoder.skip_channels, decoder.out_channels, out_channels))


def cityscapes_i2net(num_learners: int = 3, out_channels: int = 19, in_channels: int = 3) -> I2Net:
    """The paper's Cityscapes network: deep-stem ResNet-50, wider decoder that ends in the classes.

    Args:
        num_learners: K.
        out_channels: classes.
        in_channels: image channels.
    """
    encoder = ResNetEncoder(depth=50, in_channels=in_channels, deep_stem=True)
    neck = Neck(encoder.level_channels, 256)
    decoder = ImplicitDecoder(neck.out_channels, (512, 256, 256, out_channels), (256, 128), num_learners, pos_dim=24)
    return I2Net(encoder, neck, decoder, DecodedHead())
