"""Batch normalisation and ReLU of points, with a closed-form second derivative.

Autograd composes the second derivative of batch normalisation from some forty passes over its input. The closed form
needs five sums and two linear combinations. Let x̂ be the normalised input, w the weight, r = 1/σ, m() the mean over the
P points, δ the gradient before the ReLU, v the cotangent of the input's gradient, and u_w and u_b the cotangents of the
gradients of weight and bias. With a = m(v), b = m(δ), p = m(v x̂), q = m(δ x̂) and s = m(v δ) per channel, the second
backward pass differentiates P w r (s - a b - p q) + u_w · P q + u_b · P b.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from i2net_bundle.networks.fast.precision import blocks


def norm_relu(x: Tensor, norm: Any) -> Tensor:
    """Apply a batch normalisation and a ReLU to points (P, C)."""
    if not _has_closed_form(x, norm):
        return norm(x).relu_()
    norm.num_batches_tracked.add_(1)
    return _TrainedNormRelu.apply(
        x, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.momentum, norm.eps
    )


def _has_closed_form(x: Tensor, norm: Any) -> bool:
    """Whether the closed form applies: batch statistics of this process only, over more than one point."""
    if not norm.training or type(norm) is not nn.BatchNorm1d or type(x) is not Tensor or len(x) < 2:
        return False
    return norm.momentum is not None and norm.running_mean is not None and norm.weight is not None


class _TrainedNormRelu(torch.autograd.Function):
    """Batch statistics, affine map, ReLU; updates the running statistics."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, momentum: float, eps: float
    ) -> Tensor:
        normalised, batch_mean, batch_inv_std = torch.native_batch_norm(x, weight, bias, mean, var, True, momentum, eps)
        output = normalised.relu_()
        ctx.save_for_backward(x, weight, batch_mean, batch_inv_std, output)
        ctx.eps = eps
        return output

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inv_std, output = ctx.saved_tensors
        gradients = _TrainedNormReluBackward.apply(delta, x, weight, mean, inv_std, output, ctx.eps)
        return *gradients, None, None, None, None


class _TrainedNormReluBackward(torch.autograd.Function):
    """Gradients of input, weight and bias, and their derivatives."""

    @staticmethod
    def forward(
        ctx: Any, delta: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inv_std: Tensor, output: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        delta = _through_relu(delta, output)
        ctx.save_for_backward(delta, x, weight, mean, inv_std, output)
        return torch.ops.aten.native_batch_norm_backward(
            delta, x, weight, None, None, mean, inv_std, True, eps, [True, True, True]
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, of_x: Tensor | None, of_weight: Tensor | None, of_bias: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        delta, x, weight, mean, inv_std, output = ctx.saved_tensors
        dtype, count, w = inv_std.dtype, len(x), weight.to(inv_std.dtype)
        u_w = torch.zeros_like(inv_std) if of_weight is None else of_weight
        u_b = torch.zeros_like(inv_std) if of_bias is None else of_bias

        def parts(block: slice) -> tuple[Tensor, Tensor, Tensor]:
            """x̂, δ and v of a block of points."""
            x_hat = (x[block].to(dtype) - mean).mul_(inv_std)
            v = torch.zeros_like(x_hat) if of_x is None else of_x[block].to(dtype)
            return x_hat, delta[block].to(dtype), v

        in_cache = list(blocks(count, 4 * x.shape[1], x.device))
        sums = torch.zeros(5, x.shape[1], dtype=dtype, device=x.device)
        for block in in_cache:
            x_hat, d, v = parts(block)
            for place, summands in enumerate((v, d, v * x_hat, d * x_hat, v * d)):
                sums[place] += summands.sum(dim=0)
        a, b, p, q, s = sums / count
        spread, wr = s - a * b - p * q, w * inv_std
        # the gradient with respect to x̂ is e = -w r (q v + p δ) + u_w δ; x̂ itself and r depend on x
        by_v, by_delta = -wr * q, u_w - wr * p
        mean_e = by_v * a + by_delta * b
        mean_ex = by_v * p + by_delta * q
        by_x = -(inv_std * mean_ex + wr * inv_std * spread)

        of_delta, of_input = torch.empty_like(output), torch.empty_like(x)
        for block in in_cache:
            x_hat, d, v = parts(block)
            of_input[block] = (
                torch.addcmul(-inv_std * mean_e, v, inv_std * by_v)
                .addcmul_(d, inv_std * by_delta)
                .addcmul_(x_hat, by_x)
            )
            of_delta[block] = torch.addcmul(u_b - wr * a, v, wr).addcmul_(x_hat, u_w - wr * p)
        of_weight = inv_std * spread * count
        return _through_relu(of_delta, output), of_input, of_weight.to(weight.dtype), None, None, None, None


def _through_relu(delta: Tensor, output: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward(delta, output, 0)
