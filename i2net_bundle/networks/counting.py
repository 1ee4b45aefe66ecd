"""Count a network's parameters and operations as the paper's Table 1 does.

The paper's "GFLOPs" are multiply-accumulates, counted module by module on the size of its output: a convolution with
its bias, 2 per element of a batch normalisation, 1 per element of an activation or pooling. A transposed convolution is
counted on its output, 4 times its work at stride 2. Resizing, sampling and warping count nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from i2net_bundle.networks.decoder import I2Layer


def parameter_count(network: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def paper_macs(network: nn.Module, shape: Sequence[int]) -> int:
    """Multiply-accumulates of one image by the paper's rules.

    Args:
        network: any network. It is evaluated without numbers, so the count takes no memory.
        shape: of the input (1, C, H, W).
    """
    network = network.to("meta").eval()
    total = 0

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal total
        total += _module_macs(module, inputs[0], output)

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    try:
        with torch.no_grad():
            network(torch.zeros(tuple(shape), device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _module_macs(module: nn.Module, x: Any, output: Any) -> int:
    if isinstance(module, _ConvNd):
        in_channels = module.in_channels // module.groups
        per_output = in_channels * math.prod(module.kernel_size) + (module.bias is not None)
        return int(output.numel() * per_output)
    if isinstance(module, nn.Linear):
        return int(output.numel() * module.in_features)
    if isinstance(module, I2Layer):
        return int(x.shape[0] * module.weight.numel())
    if isinstance(module, _BatchNorm):
        return 2 * int(x.numel())
    return int(x.numel()) if isinstance(module, nn.ReLU | nn.MaxPool2d | nn.AdaptiveAvgPool2d) else 0
