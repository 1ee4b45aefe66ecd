"""Networks of the library transformers, with random weights: SegFormer, and UPerNet on Swin."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from i2net_bundle.networks.heads import resize

_INSTALL = "{name} needs the library transformers: pip install 'i2net-bundle[transformers]'."


class HuggingFaceNetwork(nn.Module):
    """A network whose output has ``logits`` at a coarser resolution; they are resized to the image, bilinearly.

    Args:
        model: a model of transformers for semantic segmentation.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Segment an image (B, C, H, W): logits (B, O, H, W)."""
        return resize(self.model(image).logits, image.shape[2], image.shape[3])


def segformer_b2(in_channels: int = 3, out_channels: int = 1) -> HuggingFaceNetwork:
    """SegFormer with the encoder MiT-B2 (Xie et al. 2021).

    Args:
        in_channels: image channels.
        out_channels: number of classes, or 1 for a sigmoid.

    Raises:
        ImportError: transformers is not installed.
    """
    library = _transformers("segformer_b2")
    config = library.SegformerConfig(
        num_channels=in_channels,
        num_labels=out_channels,
        depths=[3, 4, 6, 3],
        hidden_sizes=[64, 128, 320, 512],
        decoder_hidden_size=768,
    )
    return HuggingFaceNetwork(library.SegformerForSemanticSegmentation(config))


def upernet_swin(in_channels: int = 3, out_channels: int = 1) -> HuggingFaceNetwork:
    """UPerNet (Xiao et al. 2018) on Swin-Tiny (Liu et al. 2021), without its auxiliary head.

    Args:
        in_channels: image channels.
        out_channels: number of classes, or 1 for a sigmoid.

    Raises:
        ImportError: transformers is not installed.
    """
    library = _transformers("upernet_swin")
    backbone = library.SwinConfig(num_channels=in_channels, out_features=["stage1", "stage2", "stage3", "stage4"])
    config = library.UperNetConfig(
        backbone_config=backbone, num_labels=out_channels, use_auxiliary_head=False, hidden_size=512
    )
    return HuggingFaceNetwork(library.UperNetForSemanticSegmentation(config))


def _transformers(name: str) -> Any:
    try:
        import transformers
    except ImportError as cause:
        raise ImportError(_INSTALL.format(name=name)) from cause
    return transformers
