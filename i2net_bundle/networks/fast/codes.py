"""Latent codes of a query grid, with every level at its own resolution.

The concatenated input of Eq. 1 repeats a coarse cell for every query that falls into it. A linear layer does not need
the copies: it can map each level at that level's resolution, and the queries gather the results. `Codes` therefore has
two parts: numbers that differ from query to query (``direct``: relative coordinates, and levels as fine as the grid),
and the cells of coarser levels with the index of each query's cell.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from i2net_bundle.networks.coordinates import nearest_cells, sample_nearest


class CellMap:
    """Map from queries to the cells they read, and from cells to the queries that read them.

    Args:
        cells: index of each query's cell among all cells, one per coarse level, (P, L), int32.
        num_cells: number of cells, R.
    """

    def __init__(self, cells: Tensor, num_cells: int) -> None:
        self.cells, self.num_cells = cells, num_cells
        self.queries_of_cells = functools.cache(self._queries_of_cells)

    def bags(self, num_learners: int, block: slice) -> Tensor:
        """Rows of an (R·K, O) table that each query of a block reads, level by level, (P, L·K)."""
        if num_learners == 1:
            return self.cells[block]
        learner = torch.arange(num_learners, dtype=self.cells.dtype, device=self.cells.device)
        return (self.cells[block, :, None] * num_learners + learner).flatten(1)

    def _queries_of_cells(self, num_learners: int) -> tuple[Tensor, Tensor, Tensor]:
        """For every cell and learner, the queries that read it: queries, indices in a flat (P, K) gate, offsets."""
        flat = self.cells.flatten()
        dtype, device = flat.dtype, flat.device
        cell, order = flat.sort(stable=True)
        query = torch.div(order, self.cells.shape[1], rounding_mode="floor").to(dtype)
        count = torch.bincount(flat, minlength=self.num_cells)
        start = count.cumsum(0) - count
        learner = torch.arange(num_learners, device=device)
        offsets = start[:, None] * num_learners + learner * count[:, None]  # (R, K)
        cell = cell.long()
        rank = torch.arange(len(flat), device=device) - start[cell]
        place = (offsets[cell] + rank[:, None]).flatten()
        queries, gates = torch.empty_like(place, dtype=dtype), torch.empty_like(place, dtype=dtype)
        queries[place] = query.repeat_interleave(num_learners)
        gates[place] = (query[:, None] * num_learners + learner).flatten().to(dtype)
        return queries, gates, offsets.flatten().to(dtype)


class Codes:
    """Latent codes of all queries.

    Args:
        direct: numbers of each query, (P, D).
        tables: cells of each coarse level, [(R_i, C_i)].
        cell_map: which cells each query reads; None without coarse levels.
    """

    def __init__(self, direct: Tensor, tables: Sequence[Tensor] = (), cell_map: CellMap | None = None) -> None:
        self.direct, self.tables, self.cell_map = direct, tuple(tables), cell_map

    def tensors(self) -> tuple[Tensor, ...]:
        """``direct`` and the tables."""
        return (self.direct, *self.tables)


class Sampler:
    """Sample feature maps on a query grid as `Codes`.

    Args:
        features: level i as (B, C_i, H_i, W_i), fine to coarse.
        encodings: of each level's relative coordinates.
        height: query rows.
        width: query columns.
        dtype: of the codes.
    """

    def __init__(
        self, features: Sequence[Tensor], encodings: nn.ModuleList, height: int, width: int, dtype: torch.dtype
    ) -> None:
        self.features, self.height, self.width, self.dtype = features, height, width, dtype
        device = features[0].device
        # some cells of a level finer than the grid are read by no query, so gathering first is cheaper
        self.is_coarse = [level.shape[2] * level.shape[3] < height * width for level in features]
        positions, self.rows, self.cols = [], [], []
        for level, encoding in zip(features, encodings, strict=True):
            row, rel_y = nearest_cells(height, level.shape[2], device)
            col, rel_x = nearest_cells(width, level.shape[3], device)
            rel_coord = torch.stack([rel_y[:, None].expand(height, width), rel_x.expand(height, width)], dim=-1)
            positions.append(encoding(rel_coord).to(dtype))
            self.rows.append(row)
            self.cols.append(col)
        self.positions = torch.cat(positions, dim=-1)  # (H, W, levels · encoded)

    def columns(self, device: torch.device) -> Tensor:
        """Columns of the concatenated input in the order of `Codes`: positions, direct features, coarse features."""
        encoded = self.positions.shape[2] // len(self.features)
        start = 0
        positions: list[int] = []
        direct: list[int] = []
        coarse: list[int] = []
        for level, is_coarse in zip(self.features, self.is_coarse, strict=True):
            positions += range(start, start + encoded)
            (coarse if is_coarse else direct).extend(range(start + encoded, start + encoded + level.shape[1]))
            start += encoded + level.shape[1]
        return torch.tensor(positions + direct + coarse, device=device)

    def codes(self) -> Codes:
        """Codes of the whole batch, P = B·H·W."""
        return self._codes(self.features, self._cell_map(len(self.features[0])))

    def images(self) -> Iterator[Codes]:
        """Codes of one image at a time, P = H·W."""
        cell_map = self._cell_map(batch=1)
        for index in range(len(self.features[0])):
            yield self._codes([level[index : index + 1] for level in self.features], cell_map)

    def _cell_map(self, batch: int) -> CellMap | None:
        cells, num_cells = [], 0
        for level, is_coarse, row, col in zip(self.features, self.is_coarse, self.rows, self.cols, strict=True):
            if is_coarse:
                rows, cols = level.shape[2:]
                image = torch.arange(batch, device=level.device)[:, None, None]
                cells.append((num_cells + (image * rows + row[:, None]) * cols + col).flatten())
                num_cells += batch * rows * cols
        return CellMap(torch.stack(cells, dim=1).int(), num_cells) if cells else None

    def _codes(self, features: Sequence[Tensor], cell_map: CellMap | None) -> Codes:
        batch = len(features[0])
        direct, tables = [self.positions.expand(batch, -1, -1, -1)], []
        for level, is_coarse in zip(features, self.is_coarse, strict=True):
            rows, cols = level.shape[2:]
            if is_coarse:
                tables.append(level.permute(0, 2, 3, 1).reshape(-1, level.shape[1]).to(self.dtype))
            elif (rows, cols) == (self.height, self.width):
                # contiguous first: concatenating strided tensors is several times slower
                direct.append(level.permute(0, 2, 3, 1).to(self.dtype).contiguous())
            else:
                direct.append(sample_nearest(level, self.height, self.width)[0].to(self.dtype))
        return Codes(torch.cat(direct, dim=3).flatten(0, 2), tables, cell_map)
