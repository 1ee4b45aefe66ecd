"""The implicit decoder (I²Net, MICCAI 2024, Eq. 1-3), written as in the paper.

An affine map is linear in its parameters. Applying the gate-weighted sum of K parameter sets to x therefore equals the
gate-weighted sum of the K affine maps of x, and no weight matrix per point is needed. An equivalent, faster form is in
`i2net_bundle.networks.fast.decoder`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle.networks.coordinates import FourierEncoding, sample_nearest


class I2Layer(nn.Module):
    """Fully connected layer whose weight and bias are a gate-weighted sum of K learners (Eq. 3).

    Args:
        in_channels: input width C.
        out_channels: output width O.
        num_learners: K, number of parameter sets.
        norm_act: whether batch normalisation and ReLU follow.
    """

    def __init__(self, in_channels: int, out_channels: int, num_learners: int, norm_act: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_learners, out_channels, in_channels))
        self.bias = nn.Parameter(torch.empty(num_learners, out_channels))
        self.norm_act = nn.Sequential(nn.BatchNorm1d(out_channels), nn.ReLU()) if norm_act else nn.Identity()
        bound = 1 / math.sqrt(in_channels)  # each learner is initialised like a torch.nn.Linear
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """Map points ``x`` (P, C) with gates ``gate`` (P, K) to (P, O): norm_act(Σ_k g_k (W_k x + b_k))."""
        num_learners, out_channels, _ = self.weight.shape
        outputs = F.linear(x, self.weight.flatten(0, 1), self.bias.flatten())  # (P, K·O)
        outputs = outputs.view(-1, num_learners, out_channels)  # (P, K, O)
        return self.norm_act((outputs * gate.unsqueeze(2)).sum(dim=1))  # (P, O)


class GateNet(nn.Sequential):
    """The implicit gate before its softmax (Eq. 2): a static network on the input of the decoder, (P, C) to (P, K).

    Args:
        in_channels: input width C.
        hidden_channels: widths of the hidden layers, each followed by batch normalisation and ReLU.
        num_learners: K.
    """

    def __init__(self, in_channels: int, hidden_channels: Sequence[int], num_learners: int) -> None:
        layers: list[nn.Module] = []
        for width in hidden_channels:
            layers += [nn.Linear(in_channels, width), nn.BatchNorm1d(width), nn.ReLU()]
            in_channels = width
        super().__init__(*layers, nn.Linear(in_channels, num_learners))


class ImplicitDecoder(nn.Module):
    """Implicit function of multi-scale features whose parameters are mixed by a gate at every point (Eq. 1-3).

    Args:
        in_channels: channels of each feature level, fine to coarse.
        channels: output widths of the I²Layers; batch normalisation and ReLU follow all but the last.
        gate_channels: hidden widths of the gate network.
        num_learners: K.
        pos_dim: size of the Fourier encoding per level, 0 for raw relative coordinates.

    Raises:
        ValueError: ``num_learners`` is below 1.
    """

    if TYPE_CHECKING:  # TorchScript reads annotations and does not know module types
        encodings: Any
        gate_net: Any
        layers: Any

    def __init__(
        self,
        in_channels: Sequence[int] = (64, 64, 64, 64),
        channels: Sequence[int] = (128, 64),
        gate_channels: Sequence[int] = (128,),
        num_learners: int = 3,
        pos_dim: int = 0,
    ) -> None:
        super().__init__()
        if num_learners < 1:
            raise ValueError(f"num_learners must be at least 1, got {num_learners}.")
        self.encodings = nn.ModuleList([FourierEncoding(pos_dim) for _ in in_channels])
        width = sum(in_channels) + len(in_channels) * (2 + pos_dim)
        self.gate_net = GateNet(width, gate_channels, num_learners)
        self.layers = nn.ModuleList()
        for index, out_channels in enumerate(channels):
            self.layers.append(I2Layer(width, out_channels, num_learners, norm_act=index < len(channels) - 1))
            width = out_channels
        self.out_channels = width

    def forward(self, features: list[Tensor], size: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
        """Query the decoder at the cell centres of a grid.

        Args:
            features: level i as (B, C_i, H_i, W_i), fine to coarse.
            size: rows and columns of the query grid; default is that of the finest level.

        Returns:
            decoded map (B, O, H, W) and gates (B, K, H, W), which sum to 1 over K.
        """
        batch, height, width = features[0].shape[0], features[0].shape[2], features[0].shape[3]
        if size is not None:
            height, width = size[0], size[1]
        codes: list[Tensor] = []  # Eq. 1: at every point and level, the relative coordinate and the nearest feature
        for index, encoding in enumerate(self.encodings):
            feature, rel_coord = sample_nearest(features[index], height, width)  # (B, H, W, C_i), (H, W, 2)
            position = encoding(rel_coord).to(feature.dtype)  # (H, W, 2 + pos_dim)
            codes += [position.expand(batch, -1, -1, -1), feature]
        x = torch.cat(codes, dim=3).flatten(0, 2)  # (P, C), P = B·H·W
        gate = self.gate_net(x).softmax(dim=1)  # (P, K), Eq. 2
        for layer in self.layers:
            x = layer(x, gate)  # (P, O), Eq. 3
        decoded = x.view(batch, height, width, -1).permute(0, 3, 1, 2)  # (B, O, H, W)
        return decoded, gate.view(batch, height, width, -1).permute(0, 3, 1, 2)  # (B, K, H, W)

    @torch.jit.unused
    def learner_parameters(self) -> list[tuple[Tensor, Tensor]]:
        """Weight (K, O, C) and bias (K, O) of every I²Layer, which learner orthogonalization compares (Eq. 6)."""
        return [(layer.weight, layer.bias) for layer in self.layers]
