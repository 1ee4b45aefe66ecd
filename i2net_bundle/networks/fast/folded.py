"""The decoder for inference: batch normalisation is folded into the layers, and points come in cache-sized blocks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from i2net_bundle.networks.fast.codes import Codes, Sampler
from i2net_bundle.networks.fast.gated_linear import Mixture, softmax
from i2net_bundle.networks.fast.precision import blocks


class FoldedDecoder:
    """Evaluate a decoder's gate network and layers on `Codes`.

    Args:
        gate_net: linear layers, each but the last followed by batch normalisation and ReLU.
        layers: `I2Layer`s, each but the last with batch normalisation and ReLU.
        columns: column order of the first layers, see `Sampler.columns`.
        dtype: number format of the products.
    """

    def __init__(self, gate_net: Any, layers: Any, columns: Tensor, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.gate_layers = [
            self._folded(linear.weight[None], linear.bias[None], norm)
            for linear, norm in zip(list(gate_net)[::3], [*list(gate_net)[1::3], None], strict=True)
        ]
        self.layers = [
            self._folded(layer.weight, layer.bias, layer.norm_act[0] if index + 1 < len(layers) else None)
            for index, layer in enumerate(layers)
        ]
        for stack in (self.gate_layers, self.layers):
            weight, bias = stack[0]
            stack[0] = weight[:, :, columns], bias

    def _folded(self, weight: Tensor, bias: Tensor, norm: Any) -> tuple[Tensor, Tensor]:
        """Weight (K, O, C) and bias (K, O) with the normalisation folded in; gates sum to 1, so its shift folds."""
        if norm is not None:
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            bias = (bias - norm.running_mean) * scale + norm.bias
            weight = weight * scale[:, None]
        return weight.to(self.dtype), bias.to(self.dtype)

    def __call__(self, sampler: Sampler) -> tuple[Tensor, Tensor]:
        """Decoded points (P, O) and gates (P, K) of all images."""
        batch, num_points = len(sampler.features[0]), sampler.height * sampler.width
        num_learners, out_channels, _ = self.layers[-1][0].shape
        device = sampler.positions.device
        decoded = torch.empty(batch, num_points, out_channels, dtype=self.dtype, device=device)
        gates = torch.empty(
            batch, num_points, num_learners, dtype=torch.promote_types(self.dtype, torch.float32), device=device
        )
        for index, codes in enumerate(sampler.images()):
            gate_mixture, mixture = Mixture(codes, *self.gate_layers[0]), Mixture(codes, *self.layers[0])
            width = gate_mixture.width + mixture.width
            for block in blocks(num_points, width, device):
                gate = self._gate(gate_mixture, codes, block)
                gates[index, block] = gate
                decoded[index, block] = self._decode(mixture, codes, block, gate.to(self.dtype))
        return decoded.flatten(0, 1), gates.flatten(0, 1)

    def _gate(self, first: Mixture, codes: Codes, block: slice) -> Tensor:
        hidden = first(codes, block, None)
        for weight, bias in self.gate_layers[1:]:
            hidden = F.linear(hidden.relu_(), weight[0], bias[0])
        return softmax(hidden)

    def _decode(self, first: Mixture, codes: Codes, block: slice, gate: Tensor) -> Tensor:
        x = first(codes, block, gate)
        for weight, bias in self.layers[1:]:
            hidden = Codes(x.relu_())
            x = Mixture(hidden, weight, bias)(hidden, slice(None), gate)
        return x
