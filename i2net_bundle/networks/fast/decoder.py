"""The implicit decoder on `Codes`: levels are mapped at their own resolution, and points are processed in blocks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from i2net_bundle.networks.decoder import ImplicitDecoder
from i2net_bundle.networks.fast.batch_norm import norm_relu
from i2net_bundle.networks.fast.codes import Codes, Sampler
from i2net_bundle.networks.fast.folded import FoldedDecoder
from i2net_bundle.networks.fast.gated_linear import gated_linear, softmax
from i2net_bundle.networks.fast.precision import autocast_disabled, product_dtype


class FastImplicitDecoder(ImplicitDecoder):
    """An `ImplicitDecoder` without the concatenated input, and without tensors K times as wide as an activation.

    In evaluation without gradients, batch normalisation is folded into the layers, see `FoldedDecoder`. Otherwise each
    layer is a `gated_linear`, which is twice differentiable.
    """

    def forward(self, features: list[Tensor], size: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
        """Query as `ImplicitDecoder.forward` does."""
        batch, _, height, width = features[0].shape
        height, width = size if size is not None else (height, width)
        device = features[0].device
        dtype = product_dtype(features[0].dtype, device.type)
        with autocast_disabled(device.type):
            sampler = Sampler(features, self.encodings, height, width, dtype)
            columns = sampler.columns(device)
            if self.training or torch.is_grad_enabled():
                decoded, gate = self._with_gradients(sampler.codes(), columns, dtype)
            else:
                decoded, gate = FoldedDecoder(self.gate_net, self.layers, columns, dtype)(sampler)
        decoded = decoded.view(batch, height, width, -1).permute(0, 3, 1, 2)
        return decoded, gate.view(batch, height, width, -1).permute(0, 3, 1, 2)

    def _with_gradients(self, codes: Codes, columns: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Decoded points (P, O) and gates (P, K)."""
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
