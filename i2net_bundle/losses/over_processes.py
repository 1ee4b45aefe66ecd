"""Sums and means over the processes of a training, through which gradients flow.

`DistributedDataParallel` averages the gradients of the processes. If all compute one loss from these sums, the average
is the gradient that one process with all their images would have. Both functions change nothing in a single process.
"""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
import torch
from torch import Tensor, distributed


def sum_over_processes(value: Tensor) -> Tensor:
    """Add up tensors of one shape, one of each process; differentiable any number of times."""
    total: Tensor = value if idist.get_world_size() == 1 else _Sum.apply(value)
    return total


def mean_over_processes(mean: Tensor, count: int | Tensor) -> Tensor:
    """Mean over the items of all processes.

    Args:
        mean: mean over this process's items, a scalar.
        count: number of this process's items.

    Returns:
        a scalar, the same in all processes.
    """
    if idist.get_world_size() == 1:
        return mean
    total, number = sum_over_processes(torch.stack([mean * count, mean.new_zeros(()) + count]))
    return total / number.clamp_min(1)


class _Sum(torch.autograd.Function):
    """The sum over the processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total: Tensor = _Sum.apply(gradient)
        return total
