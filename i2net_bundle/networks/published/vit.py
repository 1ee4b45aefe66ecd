"""MONAI's vision transformer for images of any size."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.blocks.patchembedding import PatchEmbeddingBlock
from monai.networks.nets import ViT
from torch import Tensor, nn
from torch.nn import functional as F


class ResizedPositions(PatchEmbeddingBlock):
    """A patch embedding in 2D whose learned positions are resized to the image's grid, bicubically.

    Args:
        in_channels: channels of the image or the features.
        grid: rows and columns of the learned positions.
        patch_size: side of a patch in pixels.
        hidden_size: width of a token.
        num_heads: of the transformer.
    """

    def __init__(
        self, in_channels: int, grid: Sequence[int], patch_size: int, hidden_size: int, num_heads: int
    ) -> None:
        image_size = [side * patch_size for side in grid]
        super().__init__(in_channels, image_size, patch_size, hidden_size, num_heads, spatial_dims=2)
        self.grid = tuple(grid)

    def forward(self, x: Tensor) -> Tensor:
        """Embed an image (B, C, H, W), whose sides the patch size divides: tokens (B, h·w, hidden_size)."""
        x = self.patch_embeddings(x)  # (B, hidden, h, w)
        size = (x.shape[2], x.shape[3])
        positions = self.position_embeddings.transpose(1, 2).unflatten(2, self.grid)
        if size != self.grid:
            positions = F.interpolate(positions, size=size, mode="bicubic", align_corners=False)
        tokens: Tensor = self.dropout((x + positions).flatten(2).transpose(1, 2))
        return tokens


def remove_unused_parameters(transformer: ViT) -> None:
    """Remove the normalisation before cross-attention, which MONAI's blocks have but use in decoders alone.

    Training in several processes requires that every parameter gets a gradient.
    """
    for block in transformer.blocks:
        block.norm_cross_attn = nn.Identity()


class ViTEncoder(nn.Module):
    """Vision transformer (Dosovitskiy et al. 2021) as an encoder, by default ViT-Base.

    Args:
        in_channels: channels of the image or the features.
        patch_size: side of a patch in pixels.
        grid: rows and columns of the learned positions.
        hidden_size: width of a token.
        num_layers: number of transformer blocks.
        num_heads: heads of their attention.
    """

    def __init__(
        self,
        in_channels: int = 1,
        patch_size: int = 16,
        grid: Sequence[int] = (14, 14),
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
    ) -> None:
        super().__init__()
        image_size = [side * patch_size for side in grid]
        self.vit = ViT(
            in_channels,
            image_size,
            patch_size,
            hidden_size,
            4 * hidden_size,
            num_layers,
            num_heads,
            spatial_dims=2,
            qkv_bias=True,
        )
        self.vit.patch_embedding = ResizedPositions(in_channels, grid, patch_size, hidden_size, num_heads)
        remove_unused_parameters(self.vit)
        self.patch_size, self.out_channels = patch_size, hidden_size

    def forward(self, x: Tensor) -> Tensor:
        """Encode an image (B, C, H, W), whose sides the patch size divides: (B, hidden_size, h, w)."""
        tokens, _ = self.vit(x)
        rows, columns = x.shape[2] // self.patch_size, x.shape[3] // self.patch_size
        encoded: Tensor = tokens.transpose(1, 2).unflatten(2, (rows, columns))
        return encoded
