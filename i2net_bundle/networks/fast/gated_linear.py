"""A linear layer with gate-mixed parameters on `Codes`: its value, first and second derivatives.

Let δ be the gradient with respect to the output. T(δ, g, x, W) = Σ_p Σ_k g_k(p) δ(p)ᵀ W_k x(p) is linear in each
argument. The output is ∂T/∂δ, the gradients are the other partial derivatives, and their derivatives are again partial
derivatives of T. Four kernels therefore compute everything. They process points in blocks that fit the cache, and no
tensor over all points is K times as wide as an activation.

Learner orthogonalization differentiates the loss only with respect to the learners. Because an autograd function cannot
know which of its gradients are needed, the gradient of the learners is a separate node. The gradients of gate and codes
are then not computed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from i2net_bundle.networks.fast.codes import CellMap, Codes
from i2net_bundle.networks.fast.precision import blocks, without_autocast


def project_tables(tables: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Map coarse levels at their own resolution to (R, K·O); the last columns of ``weight`` (K, O, …) are theirs."""
    num_learners, out_channels, width = weight.shape
    projected = weight.new_empty(sum(map(len, tables)), num_learners * out_channels)
    column, row = width - sum(table.shape[1] for table in tables), 0
    for table in tables:
        part = weight[:, :, column : column + table.shape[1]].flatten(0, 1)
        projected[row : row + len(table)] = F.linear(table, part)
        column, row = column + table.shape[1], row + len(table)
    return projected


def times_gate(x: Tensor, gate: Tensor | None) -> Tensor:
    """Product of ``x`` (P, C) with every learner's gate, (P, K·C)."""
    return x if gate is None else (x[:, None] * gate[:, :, None]).flatten(1)


def weigh(x: Tensor, gate: Tensor | None) -> Tensor:
    """Σ_k g_k x_k over the learners' outputs: x (P, K·C) to (P, C), the transpose of `times_gate`."""
    if gate is None:
        return x
    # an embedding bag is a weighted sum of rows, many times faster than a product and a sum
    own_rows = torch.arange(gate.numel(), dtype=torch.int32, device=gate.device).view_as(gate)
    return F.embedding_bag(own_rows, x.reshape(gate.numel(), -1), mode="sum", per_sample_weights=gate)


def learner_products(x: Tensor, y: Tensor) -> Tensor:
    """x_kᵀ y for every learner: x (P, K·C) and y (P, C) to (P, K)."""
    return (x.view(len(y), -1, y.shape[1]) * y[:, None]).sum(dim=2)


def gather(projected: Tensor, bags: Tensor, gate: Tensor | None) -> Tensor:
    """Gate-weighted sum of the rows that each query reads: (R·K, O) to (P, O) by bags (P, L·K)."""
    if gate is None:
        return F.embedding_bag(bags, projected, mode="sum")
    weights = gate.repeat(1, bags.shape[1] // gate.shape[1])
    return F.embedding_bag(bags, projected, mode="sum", per_sample_weights=weights)


def collect(delta: Tensor, gate: Tensor | None, cell_map: CellMap) -> Tensor:
    """Gate-weighted sum over the queries that read each cell: δ (P, O) to (R, K·O), the transpose of `gather`."""
    num_learners = 1 if gate is None else gate.shape[1]
    queries, gates, offsets = cell_map.queries_of_cells(num_learners)
    weights = None if gate is None else gate.flatten().index_select(0, gates)
    summed = F.embedding_bag(queries, delta, offsets, mode="sum", per_sample_weights=weights)
    return summed.view(cell_map.num_cells, -1)


class Mixture:
    """∂T/∂δ = Σ_k g_k (W_k x + b_k) for any block of points; coarse levels are mapped once.

    Args:
        codes: codes whose tables are mapped.
        weight: (K, O, C), columns in the order of the codes.
        bias: (K, O), or None.
    """

    def __init__(self, codes: Codes, weight: Tensor, bias: Tensor | None) -> None:
        self.num_learners, self.out_channels, _ = weight.shape
        self.bias = bias
        width = codes.direct.shape[1]
        # the gate weighs inputs or outputs, whichever are fewer
        self.weighs_inputs = codes.cell_map is not None or width <= self.out_channels
        of_direct = weight[:, :, :width]
        if self.weighs_inputs:
            self.matrix = of_direct.transpose(1, 2).flatten(0, 1).t()  # (O, K·D)
        else:
            self.matrix = of_direct.flatten(0, 1)  # (K·O, D)
        self.projected = None
        if codes.cell_map is not None:
            self.projected = project_tables(codes.tables, weight).view(-1, self.out_channels)

    @property
    def width(self) -> int:
        """Numbers per point that are alive at the same time."""
        return sum(self.matrix.shape)

    def __call__(self, codes: Codes, block: slice, gate: Tensor | None) -> Tensor:
        """Map a block of P points with gates (P, K) to (P, O); no gate counts as 1."""
        direct = codes.direct[block]
        if not self.weighs_inputs:
            return weigh(F.linear(direct, self.matrix, None if self.bias is None else self.bias.flatten()), gate)
        x = times_gate(direct, gate)
        if self.projected is not None and codes.cell_map is not None:
            mixed = gather(self.projected, codes.cell_map.bags(self.num_learners, block), gate)
            mixed.add_(F.linear(x, self.matrix))
        else:
            mixed = F.linear(x, self.matrix)
        if self.bias is None:
            return mixed
        return mixed.add_(self.bias) if gate is None else mixed.addmm_(gate, self.bias)


def mix(codes: Codes, gate: Tensor | None, weight: Tensor, bias: Tensor | None) -> Tensor:
    """∂T/∂δ for all points, (P, O), given gate (P, K), weight (K, O, C) and bias (K, O)."""
    direct, mixture = codes.direct, Mixture(codes, weight, bias)
    mixed = direct.new_empty(len(direct), mixture.out_channels)
    for block in blocks(len(direct), mixture.width, direct.device):
        mixed[block] = mixture(codes, block, None if gate is None else gate[block])
    return mixed


def code_and_gate_gradients(
    delta: Tensor, codes: Codes, gate: Tensor | None, weight: Tensor, bias: Tensor | None
) -> tuple[list[Tensor], Tensor | None]:
    """∂T/∂x of direct and tables: Σ_k g_k W_kᵀ δ; and ∂T/∂g: δᵀ (W_k x + b_k), (P, K)."""
    direct, (num_learners, out_channels, _) = codes.direct, weight.shape
    width = direct.shape[1]
    table_gradients = []
    if codes.cell_map is not None:
        collected, column, row = collect(delta, gate, codes.cell_map), width, 0
        for table in codes.tables:
            part = weight[:, :, column : column + table.shape[1]].flatten(0, 1)
            table_gradients.append(F.linear(collected[row : row + len(table)], part.t()))
            column, row = column + table.shape[1], row + len(table)
    if gate is None:
        return [F.linear(delta, weight[0, :, :width].t()), *table_gradients], None
    direct_gradient, gate_gradient = torch.empty_like(direct), torch.empty_like(gate)
    by_output = weight[:, :, :width].transpose(0, 1).flatten(1).t()  # (K·D, O)
    projected = None if codes.cell_map is None else project_tables(codes.tables, weight)
    for block in blocks(len(direct), num_learners * (width + out_channels), direct.device):
        back = F.linear(delta[block], by_output)  # W_kᵀ δ of every learner
        direct_gradient[block] = weigh(back, gate[block])
        gate_gradient[block] = learner_products(back, direct[block])
        if projected is not None and codes.cell_map is not None:
            gate_gradient[block] += learner_products(gather(projected, codes.cell_map.cells[block], None), delta[block])
    if bias is not None:
        gate_gradient.addmm_(delta, bias.t())
    return [direct_gradient, *table_gradients], gate_gradient


def mix_and_gate_gradient(delta: Tensor, codes: Codes, gate: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """∂T/∂δ and ∂T/∂g without bias, from one product: Σ_k g_k W_k x, (P, O), and δᵀ W_k x, (P, K)."""
    direct, (num_learners, out_channels, _) = codes.direct, weight.shape
    width = direct.shape[1]
    of_direct = weight[:, :, :width].flatten(0, 1)  # (K·O, D)
    projected = None if codes.cell_map is None else project_tables(codes.tables, weight)
    mixed, gate_gradient = torch.empty_like(delta), torch.empty_like(gate)
    for block in blocks(len(direct), width + 2 * num_learners * out_channels, direct.device):
        of_learners = F.linear(direct[block], of_direct)
        if projected is not None and codes.cell_map is not None:
            of_learners += gather(projected, codes.cell_map.cells[block], None)
        mixed[block] = weigh(of_learners, gate[block])
        gate_gradient[block] = learner_products(of_learners, delta[block])
    return mixed, gate_gradient


def learner_gradient(delta: Tensor, codes: Codes, gate: Tensor | None) -> tuple[Tensor, Tensor]:
    """∂T/∂W: Σ_p g_k δ xᵀ, (K, O, C); and ∂T/∂b: Σ_p g_k δ, (K, O)."""
    num_learners, out_channels, width = 1 if gate is None else gate.shape[1], delta.shape[1], codes.direct.shape[1]
    rows = num_learners * out_channels
    gradient = delta.new_zeros(rows, width)
    for block in blocks(len(delta), rows + width, delta.device):
        weighted = times_gate(delta[block], None if gate is None else gate[block])
        gradient += weighted.t() @ codes.direct[block]  # Σ_p, (rows, D)
    parts = [gradient]
    if codes.cell_map is not None:
        collected = collect(delta, gate, codes.cell_map).split([len(table) for table in codes.tables])
        parts += [part.t() @ table for part, table in zip(collected, codes.tables, strict=True)]
    bias = delta.sum(0, keepdim=True) if gate is None else gate.t() @ delta
    return torch.cat(parts, dim=1).view(num_learners, out_channels, -1), bias


def softmax(logits: Tensor) -> Tensor:
    """Gates (P, K), at least in single precision."""
    return logits.softmax(dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))


class _Parameters:
    """Weight and bias, hidden from autograd; see the module docstring."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight, bias


def gated_linear(codes: Codes, gate: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    """Σ_k g_k (W_k x + b_k) at every query, twice differentiable.

    Args:
        codes: of P queries, C numbers each.
        gate: (P, K), or None for a single learner with gate 1.
        weight: (K, O, C), columns in the order of the codes.
        bias: (K, O).

    Returns:
        (P, O).
    """
    mixed = _Mix.apply(codes.cell_map, _Parameters(weight, bias), gate, *codes.tensors())
    return _LearnerNode.apply(codes.cell_map, mixed, weight, bias, gate, *codes.tensors())


class _Mix(torch.autograd.Function):
    """`mix`, differentiable with respect to gate and codes."""

    @staticmethod
    @without_autocast
    def forward(ctx: Any, cell_map: CellMap, own: _Parameters, gate: Tensor | None, *x: Tensor) -> Tensor:
        ctx.cell_map, ctx.own = cell_map, own
        ctx.save_for_backward(gate, *x)
        return mix(Codes(x[0], x[1:], cell_map), gate, own.weight, own.bias)

    @staticmethod
    def backward(ctx: Any, delta: Any) -> tuple[Any, ...]:
        gate, *x = ctx.saved_tensors
        gradients = _MixBackward.apply(ctx.cell_map, delta.contiguous(), ctx.own.weight, ctx.own.bias, gate, *x)
        return None, None, *(gradients if gate is not None else (None, *gradients))


class _MixBackward(torch.autograd.Function):
    """`code_and_gate_gradients` and their derivatives: (∂T/∂g,) ∂T/∂x."""

    @staticmethod
    @without_autocast
    def forward(
        ctx: Any, cell_map: CellMap, delta: Tensor, weight: Tensor, bias: Tensor, gate: Tensor | None, *x: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.cell_map = cell_map
        ctx.save_for_backward(delta, weight, bias, gate, *x)
        of_codes, of_gate = code_and_gate_gradients(delta, Codes(x[0], x[1:], cell_map), gate, weight, bias)
        return tuple(of_codes) if of_gate is None else (of_gate, *of_codes)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        delta, weight, bias, gate, *x = ctx.saved_tensors
        codes = Codes(x[0], x[1:], ctx.cell_map)
        of_gate, of_codes = (None, cotangents) if gate is None else (cotangents[0], cotangents[1:])
        terms: list[tuple[Tensor | None, ...]] = []  # of δ, W, b, g, x
        if any(cotangent is not None for cotangent in of_codes):
            filled = [torch.zeros_like(v) if c is None else c for v, c in zip(x, of_codes, strict=True)]
            other = Codes(filled[0], filled[1:], ctx.cell_map)
            if gate is None:
                mixed, of_gate_itself = mix(other, None, weight, None), None
            else:
                mixed, of_gate_itself = mix_and_gate_gradient(delta, other, gate, weight)
            terms.append((mixed, learner_gradient(delta, other, gate)[0], None, of_gate_itself))
        if of_gate is not None:
            code_gradients, _ = code_and_gate_gradients(delta, codes, of_gate, weight, bias)
            of_learners = learner_gradient(delta, codes, of_gate)
            terms.append((mix(codes, of_gate, weight, bias), *of_learners, None, *code_gradients))
        sums = [_sum(values) for values in itertools.zip_longest(*terms)]
        return None, *sums, *[None] * (4 + len(x) - len(sums))


class _LearnerNode(torch.autograd.Function):
    """Identity on the output, through which the learners receive their gradient."""

    @staticmethod
    def forward(
        ctx: Any, cell_map: CellMap, mixed: Tensor, weight: Tensor, bias: Tensor, gate: Tensor | None, *x: Tensor
    ) -> Tensor:
        ctx.cell_map = cell_map
        ctx.save_for_backward(gate, *x)
        return mixed.view_as(mixed)

    @staticmethod
    def backward(ctx: Any, delta: Any) -> tuple[Any, ...]:
        gate, *x = ctx.saved_tensors
        weight, bias = _LearnerGradient.apply(ctx.cell_map, delta.contiguous(), gate, *x)
        return None, delta, weight, bias, None, *[None] * len(x)


class _LearnerGradient(torch.autograd.Function):
    """`learner_gradient` and its derivatives."""

    @staticmethod
    @without_autocast
    def forward(ctx: Any, cell_map: CellMap, delta: Tensor, gate: Tensor | None, *x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.cell_map = cell_map
        ctx.save_for_backward(delta, gate, *x)
        return learner_gradient(delta, Codes(x[0], x[1:], cell_map), gate)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, weight: Any, bias: Any) -> tuple[Any, ...]:  # type: ignore[override]
        delta, gate, *x = ctx.saved_tensors
        codes = Codes(x[0], x[1:], ctx.cell_map)
        of_codes, of_gate = code_and_gate_gradients(delta, codes, gate, weight, bias)
        return None, mix(codes, gate, weight, bias), of_gate, *of_codes


def _sum(values: Sequence[Tensor | None]) -> Tensor | None:
    present = [value for value in values if value is not None]
    return sum(present[1:], start=present[0]) if present else None
