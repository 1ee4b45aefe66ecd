"""Comparison of the fast with the plain form on a tiny input, once per device and process.

CUDA, ROCm and MPS have their own kernels for embedding bags, batch normalisation and sorting. The check compares
outputs, gradients, and the gradient of learner orthogonalization, which is a second derivative.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle.networks.decoder import ImplicitDecoder
from i2net_bundle.networks.fast.decoder import FastImplicitDecoder
from i2net_bundle.networks.fast.head import FastSkipHead
from i2net_bundle.networks.heads import SkipHead

_TOLERANCE = 1e-3
"""Largest difference, as a share of the plain form's largest value; float32 rounding stays below a tenth of it."""
_SIZES = ((6, 8), (6, 8), (3, 4), (2, 3))  # rows and columns of the levels: one as fine as the grid, two coarser
_TINY = 1e-6
"""Absolute tolerance, for values that are truly 0, such as gradients of biases before batch normalisation."""


class _Network(nn.Module):
    """A decoder and a head, the parts that have fast forms."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = ImplicitDecoder((3,) * len(_SIZES), (6, 5), (7,), num_learners=3, pos_dim=4)
        self.head = SkipHead(3, 5, 2)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Map levels to logits, decoded map and gates."""
        decoded, gates = self.decoder(features)
        return self.head(features[0], decoded), decoded, gates


@functools.cache
def disagreement(device: torch.device) -> str | None:
    """Compare the fast with the plain form on a device.

    Args:
        device: device to compare on; the result is cached for the rest of the process.

    Returns:
        None if they agree, otherwise what differs or fails.
    """
    try:
        with _full_precision():
            return _difference(device)
    except Exception as fault:  # a missing kernel, an internal assertion, a compiler error: the plain form still runs
        return f"the self-check fails ({type(fault).__name__}: {str(fault).strip().partition(chr(10))[0]})"


def _difference(device: torch.device) -> str | None:
    plain, features = _example(device)
    fast = copy.deepcopy(plain)
    fast.decoder.__class__, fast.head.__class__ = FastImplicitDecoder, FastSkipHead
    for name, compute in {"evaluation": _evaluate, "training": _train}.items():
        for place, (found, expected) in enumerate(zip(compute(fast, features), compute(plain, features), strict=True)):
            error = (found - expected).abs().max().item()
            if not error <= _TOLERANCE * expected.abs().max().item() + _TINY:  # NaN compares false
                return f"fast and plain form differ in {name} by {error:.2g} (result {place} of the self-check)"
    return None


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Enable gradients and disable TensorFloat-32, whatever the caller has set."""
    precision, tf32 = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = tf32


def _example(device: torch.device) -> tuple[_Network, list[Tensor]]:
    """Network and features, generated on the CPU independently of the caller's random state."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        network = _Network()
    for parameter in network.parameters():
        parameter.data = torch.rand(parameter.shape, generator=generator) - 0.5
    features = [torch.randn(2, 3, *size, generator=generator) for size in _SIZES]
    memory_format = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    return network.to(device), [feature.to(device, memory_format=memory_format) for feature in features]


def _evaluate(network: _Network, features: list[Tensor]) -> list[Tensor]:
    network.eval()
    with torch.no_grad():
        return list(network(features))


def _train(network: _Network, features: list[Tensor]) -> list[Tensor]:
    """Outputs, gradients of a loss, and gradients of the penalty on the learners' gradients."""
    network.train()
    leaves = [*network.parameters(), *(feature.detach().requires_grad_() for feature in features)]
    logits, decoded, gates = network(leaves[-len(features) :])
    loss = logits.square().mean() + gates.square().mean()
    learners = [parameter for layer in network.decoder.learner_parameters() for parameter in layer]
    inner = torch.autograd.grad(loss, learners, create_graph=True)
    penalty = torch.stack(
        [F.normalize(gradient.flatten(1), dim=1).sum(dim=0).square().sum() for gradient in inner]
    ).sum()
    gradients = [
        gradient
        for value in (loss, penalty)
        for gradient in torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
    ]
    return [value.detach() for value in (logits, decoded, gates, *gradients)]
