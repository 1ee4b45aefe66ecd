"""A trunk, a decoder of Table 1, and a head, joined to one network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from i2net_bundle.networks.encoders import ResNetEncoder
from i2net_bundle.networks.heads import DecodedHead, SkipHead, resize
from i2net_bundle.networks.peers.alignseg import AlignSegDecoder
from i2net_bundle.networks.peers.carafe import CarafeDecoder
from i2net_bundle.networks.peers.concatenation import ResizingDecoder
from i2net_bundle.networks.peers.deconvolution import DeconvolutionDecoder
from i2net_bundle.networks.peers.implicit import StaticImplicitDecoder
from i2net_bundle.networks.peers.sfnet import SFNetDecoder
from i2net_bundle.networks.peers.trunks import UNetTrunk
from i2net_bundle.networks.peers.unet import FinestLevel, ResNetUNet

TRUNKS = ("resnet18", "unet", "unet_one_up")
"""Trunks: for GlaS; I²Net's own on Synapse (the "equal trunk"); the weaker one of the other methods there."""

DECODERS: dict[str, Callable[[Sequence[int], int, bool], nn.Module]] = {
    "bilinear": lambda levels, out, _: ResizingDecoder(levels, out, "bilinear"),
    "nearest": lambda levels, out, _: ResizingDecoder(levels, out, "nearest"),
    "deconvolution": lambda levels, out, _: DeconvolutionDecoder(levels, out),
    "carafe": lambda levels, out, is_resnet: CarafeDecoder(levels, out, join_finest=not is_resnet),
    "sfnet": lambda levels, out, _: SFNetDecoder(levels, out),
    "alignseg": lambda levels, out, _: AlignSegDecoder(levels, out),
    "ifa": lambda levels, out, is_resnet: StaticImplicitDecoder(
        levels, out, 256 if is_resnet else 64, 16 if is_resnet else 24, bilinear=False
    ),
    "iosnet": lambda levels, out, _: StaticImplicitDecoder(levels, out, 64, 0, bilinear=True),
}
"""Builders by decoder name, called with level channels, output channels and whether the trunk is a ResNet."""

NAMES = (*DECODERS, "unet")


class PeerNet(nn.Module):
    """A segmentation network with a decoder on four levels.

    Args:
        encoder: an image to a skip feature and four levels.
        decoder: levels to a map at the finest level's resolution.
        head: skip feature and decoded map to logits.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = encoder, decoder, head

    def forward(self, image: Tensor) -> Tensor:
        """Segment an image (B, C, H, W): logits (B, O, H, W)."""
        skip, levels = self.encoder(image)
        return resize(self.head(skip, self.decoder(levels)), image.shape[2], image.shape[3])


def peer_network(decoder: str, trunk: str = "resnet18", out_channels: int = 1, in_channels: int = 3) -> nn.Module:
    """Create a network of Table 1.

    Args:
        decoder: one of `NAMES`.
        trunk: one of `TRUNKS`. The U-Net has the same up blocks on both U-Net trunks.
        out_channels: number of classes, or 1 for a sigmoid.
        in_channels: image channels.

    Raises:
        ValueError: unknown decoder or trunk.
    """
    if decoder not in NAMES or trunk not in TRUNKS:
        raise ValueError(
            f"decoder must be one of {', '.join(NAMES)} and trunk one of {', '.join(TRUNKS)}, "
            f"not {decoder!r} on {trunk!r}."
        )
    if trunk == "resnet18":
        encoder = ResNetEncoder(18, in_channels)
        if decoder == "unet":
            return ResNetUNet(encoder, out_channels)
        head = SkipHead(encoder.skip_channels, 64, out_channels)
        return PeerNet(encoder, DECODERS[decoder](encoder.level_channels, 64, True), head)
    unet = UNetTrunk(in_channels, 1 if trunk == "unet_one_up" and decoder != "unet" else 4)
    if decoder == "unet":
        return PeerNet(unet, FinestLevel(unet.skip_channels, out_channels), DecodedHead())
    return PeerNet(unet, DECODERS[decoder](unet.level_channels, out_channels, False), DecodedHead())
