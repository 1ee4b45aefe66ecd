"""Products of matrices by the faster of the two libraries that PyTorch carries.

`torch.mm` in single precision is MKL's, which leaves the AVX-512 of other makers' processors unused: there oneDNN,
which PyTorch keeps for convolutions and compiled linear layers, takes half the time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from i2net_bundle.hardware import has_avx512


@functools.cache
def _onednn_linear() -> Callable[..., Tensor] | None:
    """PyTorch's operator for linear layers by oneDNN, where it is the faster one."""
    if not (torch.backends.mkldnn.is_available() and has_avx512()):
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # PyTorch does not promise to keep it


def _takes_onednn(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() > 0 and _onednn_linear() is not None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X Wᵀ + b, without gradients: (P, O) of x (P, C), weight (O, C) and bias (O,)."""
    onednn = _onednn_linear()
    if onednn is not None and _takes_onednn(x):
        if not weight.t().is_contiguous():
            weight = weight.contiguous()  # gaps between rows end in oneDNN's reference code, a thousand times slower
        # of the bias it reads as many numbers as there should be, whatever lies between them
        return onednn(x, weight, None if bias is None else bias.contiguous(), "none", [], "")
    return x @ weight.t() if bias is None else torch.addmm(bias, x, weight.t())


def sum_of_outer_products(left: Tensor, right: Tensor) -> Tensor:
    """Σ_p l_p r_pᵀ, without gradients: (M, N) of left (P, M) and right (P, N); right is best the narrower."""
    if not _takes_onednn(left):
        return left.t() @ right
    return linear(right.t().contiguous(), left.t()).t()  # oneDNN reads the second in any order, the first by rows
