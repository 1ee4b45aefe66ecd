"""The plain form of the paper's layers: what the package's faster forms must equal, and what they are timed against.

K dense 1×1 convolutions on the concatenated, nearest-upsampled input, products with the gate summed over K, channels
first, autograd's own double backward. Source: I²Net (MICCAI 2024), Eq. 1-3.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle.networks import I2Net, ImplicitDecoder
from i2net_bundle.networks.i2net import SkipHead


class PlainDecoder(nn.Module):
    """The function of an `ImplicitDecoder`, with its very parameters and buffers, in the plain form."""

    def __init__(self, decoder: ImplicitDecoder) -> None:
        super().__init__()
        self.encodings, self.gate_net, self.layers = decoder.encodings, decoder.gate_net, decoder.layers
        self.out_channels = decoder.out_channels

    def forward(self, features: list[Tensor], size: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
        """Query as `ImplicitDecoder.forward` does."""
        size = tuple(features[0].shape[2:]) if size is None else size
        maps = []
        for feature, encoding in zip(features, self.encodings, strict=True):
            position = _encode(rel_coord(feature.shape[2:], size).to(feature), encoding.frequencies)
            maps += [position.expand(len(feature), -1, -1, -1), upsample_nearest(feature, size)]
        x = torch.cat(maps, dim=1)
        gate = x
        for module in self.gate_net:
            if isinstance(module, nn.Linear):
                gate = _convolve(gate, module.weight, module.bias)
            else:
                gate = _normalise(gate, module) if isinstance(module, nn.BatchNorm1d) else gate.relu()
        gate = gate.softmax(dim=1)
        for index, layer in enumerate(self.layers):
            outputs = [_convolve(x, layer.weight[k], layer.bias[k]) for k in range(gate.shape[1])]
            x = (torch.stack(outputs, dim=1) * gate.unsqueeze(2)).sum(dim=1)  # (B, K, O, H, W) to (B, O, H, W)
            if index < len(self.layers) - 1:  # nothing after the last
                x = _normalise(x, layer.norm_act[0]).relu()
        return x, gate

    def learner_parameters(self) -> list[tuple[Tensor, Tensor]]:
        """The decoder's own, see `ImplicitDecoder.learner_parameters`."""
        return [(layer.weight, layer.bias) for layer in self.layers]


class PlainSkipHead(nn.Module):
    """The function of a `SkipHead`, in its order: resize, concatenate, 1×1 convolution."""

    def __init__(self, head: SkipHead) -> None:
        super().__init__()
        self.conv = head.conv

    def forward(self, skip: Tensor, decoded: Tensor) -> Tensor:
        """Map skip (B, S, h, w) and decoded (B, D, …) to logits (B, O, h, w)."""
        resized = F.interpolate(decoded, skip.shape[2:], mode="bilinear", align_corners=False)
        return self.conv(torch.cat([skip, resized], dim=1))


def plain_network(network: I2Net) -> I2Net:
    """A copy of a network, parameters included, with its decoder and its `SkipHead` in the plain form."""
    network = copy.deepcopy(network)
    return I2Net(network.encoder, network.neck, PlainDecoder(network.decoder), PlainSkipHead(network.head))


def centres(height: int, width: int) -> Tensor:
    """Cell centres (2, height, width) in [-1, 1], (y, x), in double precision."""
    y, x = (torch.tensor([-1 + (2 * i + 1) / n for i in range(n)], dtype=torch.float64) for n in (height, width))
    return torch.stack([y[:, None].expand(height, width), x.expand(height, width)])


def upsample_nearest(feature: Tensor, size: tuple[int, int]) -> Tensor:
    """The cell that holds each query, (B, C, height, width)."""
    if all(query % cells == 0 for query, cells in zip(size, feature.shape[2:], strict=True)):
        return F.interpolate(feature, size, mode="nearest-exact")  # the faster of the two where no query is a tie
    grid = centres(*size).to(feature).flip(0).permute(1, 2, 0).expand(len(feature), -1, -1, -1)  # (x, y)
    return F.grid_sample(feature, grid, mode="nearest", align_corners=False)


def rel_coord(cells: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Offset of each query from the centre of its cell, in half cells, (2, height, width)."""
    nearest = upsample_nearest(centres(*cells)[None], size)[0]
    return (centres(*size) - nearest) * torch.tensor(cells).view(2, 1, 1)


def _encode(position: Tensor, frequencies: Tensor | None) -> Tensor:
    if frequencies is None:
        return position
    phase = torch.einsum("fa,ahw->fhw", frequencies, position)
    return torch.cat([position, phase.sin(), phase.cos()])


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, weight[:, :, None, None], bias)


def _normalise(x: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    return norm(x.flatten(2)).view_as(x)
