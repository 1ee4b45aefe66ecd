"""Normalised maps that training does not keep, since what they were made of is kept.

Within `lean_activations`, layers that would keep such a map for their backward pass keep a way to make it anew, which
costs one pass over the map.
"""

from __future__ import annotations

import contextlib
import contextvars
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_lean = contextvars.ContextVar("lean", default=False)


@contextlib.contextmanager
def lean_activations() -> Iterator[None]:
    """Let the backward pass make normalised maps anew, where layers within would keep them."""
    token = _lean.set(True)
    try:
        with torch.autograd.graph.saved_tensors_hooks(_forget, _remember):
            yield
    finally:
        _lean.reset(token)


def is_lean() -> bool:
    """Whether `lean_activations` is on."""
    return _lean.get()


def lean_norm_relu(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, momentum: float, eps: float
) -> Tensor:
    """Normalise maps (B, C, H, W) by their own statistics, which update the running ``mean`` and ``var``, and ReLU."""
    output: Tensor = _LeanNormRelu.apply(x, weight, bias, mean, var, momentum, eps)
    if output.grad_fn is not None:
        output.activation = _Activation(output)  # type: ignore[attr-defined]
    return output


class _Activation:
    """An output of `_LeanNormRelu`, made anew when first asked for and kept until its own backward pass takes it."""

    def __init__(self, output: Tensor) -> None:
        node: Any = output.grad_fn
        self.node, self.version = node, output._version
        node.activation = weakref.ref(self)
        self.output: Tensor | None = None

    def made_anew(self) -> Tensor:
        if self.output is None:
            self.output = _made_of(*self.node.saved_tensors)
        return self.output

    def take(self) -> Tensor:
        output, self.output = self.made_anew(), None
        return output


def _made_of(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inv_std: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.native_batch_norm(x, weight, bias, mean, inv_std**-2, False, 0.0, 0.0)[0].relu_()


def _forget(tensor: Tensor) -> tuple[Tensor | _Activation, int, Any]:
    """What autograd keeps of a tensor: the tensor, unless it is, or shows, an output of `_LeanNormRelu`."""
    source = tensor if tensor._base is None else tensor._base
    activation = getattr(source, "activation", None)
    if activation is not None and source._version == activation.version:
        return activation, 0, (tensor.shape, tensor.stride(), tensor.storage_offset())
    return tensor.detach(), tensor._version, None  # itself would hold the graph that holds it


def _remember(kept: tuple[Tensor | _Activation, int, Any]) -> Tensor:
    what, version, layout = kept
    if isinstance(what, _Activation):
        return what.made_anew().as_strided(*layout)
    if what._version != version:
        raise RuntimeError(f"A tensor of {tuple(what.shape)} that the backward pass needs was modified in place.")
    return what


class _LeanNormRelu(torch.autograd.Function):
    """Batch statistics, affine map, ReLU of maps; keeps its input alone, and updates the running statistics."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, momentum: float, eps: float
    ) -> Tensor:
        normalised, batch_mean, batch_inv_std = torch.native_batch_norm(x, weight, bias, mean, var, True, momentum, eps)
        ctx.save_for_backward(x, weight, bias, batch_mean, batch_inv_std)
        return normalised.relu_()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inv_std = ctx.saved_tensors
        activation = ctx.activation()
        output = _made_of(x, weight, bias, mean, inv_std) if activation is None else activation.take()
        delta = torch.ops.aten.threshold_backward(delta, output, 0)
        gradients = torch.ops.aten.native_batch_norm_backward(
            torch.ops.aten.threshold_backward(delta, output, 0),
            x,
            weight,
            None,
            None,
            mean,
            inv_std,
            True,
            0.0,
            [True, True, True],
        )
        return *gradients, None, None, None, None
