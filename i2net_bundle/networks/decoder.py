"""The implicit decoder: latent codes at a point -> gate -> layers whose parameters that gate mixes.

Source: I²Net (MICCAI 2024), Eq. 1-3. An affine map is linear in its parameters, so the gate-weighted sum of K
parameter sets is the gate-weighted sum of K affine maps: no weight matrix is ever made per point. The first layers of
gate and decoder map each feature level at the level's own resolution, see `i2net_bundle.networks.fast.codes`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle.hardware import autocast_disabled, product_dtype
from i2net_bundle.networks.coordinates import FourierEncoding, nearest_cells
from i2net_bundle.networks.fast.batch_norm import norm_relu
from i2net_bundle.networks.fast.codes import Codes, Sampler
from i2net_bundle.networks.fast.folded import FoldedDecoder
from i2net_bundle.networks.fast.gated_linear import gated_linear, softmax


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
        bound = 1 / math.sqrt(in_channels)  # each learner starts as a torch.nn.Linear of its own
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """Map points ``x`` (P, C) with gates ``gate`` (P, K) to (P, O)."""
        return self.mix(F.linear(x, self.weight.flatten(0, 1), self.bias.flatten()), gate)

    def mix(self, outputs: Tensor, gate: Tensor) -> Tensor:
        """Weigh what each learner made of every point, (P, K·O), by the gate, and normalise."""
        num_learners, out_channels, _ = self.weight.shape
        return self.norm_act((outputs.view(-1, num_learners, out_channels) * gate.unsqueeze(2)).sum(dim=1))


class GateNet(nn.Sequential):
    """The implicit gate before its softmax (Eq. 2): a static network on the decoder's own input, (P, C) to (P, K).

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
    """Decode multi-scale features as an implicit function with gate-mixed parameters (Eq. 1 and 2).

    Args:
        in_channels: channels of each feature level, fine to coarse.
        channels: output widths of the I²Layers; all but the last are followed by batch normalisation and ReLU.
        gate_channels: hidden widths of the gate network.
        num_learners: K.
        pos_dim: size of the Fourier encoding per level, 0 for raw relative coordinates.

    Raises:
        ValueError: no learner is asked for.
    """

    if TYPE_CHECKING:  # TorchScript reads annotations and knows no modules
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
            size: rows and columns of the query grid; default is the finest level's own.

        Returns:
            decoded map (B, O, H, W) and gates (B, K, H, W), which sum to 1 over K.
        """
        batch, height, width = features[0].shape[0], features[0].shape[2], features[0].shape[3]
        if size is not None:
            height, width = size[0], size[1]
        if torch.jit.is_scripting() or torch.jit.is_tracing():
            decoded, gate = self._decode_exportable(features, height, width)
        else:
            decoded, gate = self._decode_in_blocks(features, height, width)
        decoded = decoded.view(batch, height, width, -1).permute(0, 3, 1, 2)
        return decoded, gate.view(batch, height, width, -1).permute(0, 3, 1, 2)

    @torch.jit.unused
    def _decode_in_blocks(self, features: list[Tensor], height: int, width: int) -> tuple[Tensor, Tensor]:
        """Decoded points (P, O) and gates (P, K), without a tensor of K times the width of an activation."""
        device_type = features[0].device.type
        dtype = product_dtype(features[0].dtype, device_type)
        with autocast_disabled(device_type):
            sampler = Sampler(features, self.encodings, height, width, dtype)
            columns = sampler.columns(features[0].device)
            if not self.training and not torch.is_grad_enabled():
                return FoldedDecoder(self.gate_net, self.layers, columns, dtype)(sampler)
            return self._decode_with_gradients(sampler.codes(), columns, dtype)

    def _decode_with_gradients(self, codes: Codes, columns: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        hidden = codes.direct
        for index in range(0, len(self.gate_net), 3):  # linear, batch normalisation, ReLU
            linear = self.gate_net[index]
            weight, bias = linear.weight.to(dtype), linear.bias.to(dtype)
            if index == 0:
                hidden = gated_linear(codes, None, weight[None, :, columns], bias[None])
            else:
                hidden = F.linear(hidden, weight, bias)
            if index + 1 < len(self.gate_net):
                hidden = norm_relu(hidden, self.gate_net[index + 1])
        gate = softmax(hidden)
        weights = gate.to(dtype)
        for index, layer in enumerate(self.layers):
            weight = layer.weight[:, :, columns] if index == 0 else layer.weight
            mixed = gated_linear(codes, weights, weight.to(dtype), layer.bias.to(dtype))
            codes = Codes(norm_relu(mixed, layer.norm_act[0]) if index + 1 < len(self.layers) else mixed)
        return codes.direct, gate

    def _decode_exportable(self, features: list[Tensor], height: int, width: int) -> tuple[Tensor, Tensor]:
        """The same of plain operators on all points at once, for TorchScript and ONNX."""
        gate_width = self.gate_net[0].weight.shape[0]
        weight = torch.cat([self.gate_net[0].weight, self.layers[0].weight.flatten(0, 1)])
        bias = torch.cat([self.gate_net[0].bias, self.layers[0].bias.flatten()])
        outputs = bias.view(1, 1, 1, -1)
        start = 0
        for index, encoding in enumerate(self.encodings):
            feature = features[index].permute(0, 2, 3, 1)
            row, rel_y = nearest_cells(height, feature.shape[1], feature.device)
            col, rel_x = nearest_cells(width, feature.shape[2], feature.device)
            rel_coord = torch.stack([rel_y[:, None].expand(height, width), rel_x[None].expand(height, width)], dim=-1)
            position = encoding(rel_coord)
            middle, end = start + position.shape[2], start + position.shape[2] + feature.shape[3]
            projected = F.linear(feature, weight[:, middle:end]).index_select(1, row).index_select(2, col)
            outputs = outputs + projected + F.linear(position.to(feature.dtype), weight[:, start:middle])
            start = end
        outputs = outputs.flatten(0, 2)  # (P, gate_width + K·O)
        gate = outputs[:, :gate_width]
        for index, module in enumerate(self.gate_net):
            if index > 0:
                gate = module(gate)
        gate = softmax(gate)
        x = outputs[:, gate_width:]
        for index, layer in enumerate(self.layers):
            x = layer.mix(x, gate) if index == 0 else layer(x, gate)
        return x, gate

    @torch.jit.unused
    def learner_parameters(self) -> list[tuple[Tensor, Tensor]]:
        """Weight (K, O, C) and bias (K, O) of every I²Layer, the leaves that learner orthogonalization looks at."""
        return [(layer.weight, layer.bias) for layer in self.layers]
