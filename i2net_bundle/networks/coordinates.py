"""Query geometry of an implicit decoder: cell centres, nearest cells, relative coordinates, Fourier encoding.

Source: I²Net (MICCAI 2024), Eq. 1. A grid of n cells spans [-1, 1]; cell i is centred at -1 + (2i + 1) / n. The decoder
queries the cell centres of a grid, so rows and columns separate. Everything below is computed per axis and in integers,
and is exact for any ratio of the two grid sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def nearest_cells(num_queries: int, num_cells: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Nearest cell of every query along one axis, and the query's offset from that cell's centre.

    The queries are the centres of ``num_queries`` cells. A query exactly between two cells takes the even index, as
    ``grid_sample(mode="nearest", align_corners=False)`` does.

    Args:
        num_queries: N, number of queries along the axis.
        num_cells: n, number of cells of the sampled feature map along the axis.
        device: device of the results.

    Returns:
        cell indices (N,), int64, and ``rel_coord`` = (p - p*) · n, (N,), float32, in [-1, 1].

    >>> nearest_cells(4, 2)[1].tolist()
    [-0.5, 0.5, -0.5, 0.5]
    """
    # query i lies at (2i + 1) n / 2N in units of cells; the integer part is the nearest cell
    position = (2 * torch.arange(num_queries, device=device) + 1) * num_cells
    cell = torch.div(position, 2 * num_queries, rounding_mode="floor")
    between_two_cells = torch.remainder(position, 2 * num_queries) == 0
    cell = cell - (between_two_cells & (torch.remainder(cell, 2) == 1)).to(cell.dtype)
    rel_coord = (position - (2 * cell + 1) * num_queries).float() / num_queries
    return cell, rel_coord


def sample_nearest(feature: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Nearest latent codes z* and relative coordinates for the queries of a height × width grid.

    Args:
        feature: feature map (B, C, n_y, n_x).
        height: query rows.
        width: query columns.

    Returns:
        sampled feature (B, height, width, C) and ``rel_coord`` (height, width, 2), last axis (y, x).
    """
    row, rel_y = nearest_cells(height, feature.shape[2], feature.device)
    col, rel_x = nearest_cells(width, feature.shape[3], feature.device)
    sampled = feature.permute(0, 2, 3, 1).index_select(1, row).index_select(2, col)
    rel_coord = torch.stack([rel_y[:, None].expand(height, width), rel_x[None, :].expand(height, width)], dim=-1)
    return sampled, rel_coord


class FourierEncoding(nn.Module):
    """Learnable Fourier encoding of relative coordinates: [rel, sin(rel Ωᵀ), cos(rel Ωᵀ)].

    Ω contains ``pos_dim / 4`` frequencies per axis, those of axis 0 first, initialised to 2^linspace(0, 6). With
    ``pos_dim = 0``, the coordinates are returned unchanged.

    Args:
        pos_dim: number of sine and cosine channels, a multiple of 4; 0 for raw coordinates.

    Raises:
        ValueError: ``pos_dim`` is negative or not a multiple of 4.
    """

    def __init__(self, pos_dim: int = 0) -> None:
        super().__init__()
        if pos_dim < 0 or pos_dim % 4:
            raise ValueError(f"pos_dim must be 0 or a positive multiple of 4, got {pos_dim}.")
        self.out_channels = 2 + pos_dim
        octaves = 2.0 ** torch.linspace(0, 6, pos_dim // 4)
        zeros = torch.zeros_like(octaves)
        axis_rows = [torch.stack([octaves, zeros], dim=1), torch.stack([zeros, octaves], dim=1)]
        self.frequencies = nn.Parameter(torch.cat(axis_rows)) if pos_dim else None

    def forward(self, rel_coord: Tensor) -> Tensor:
        """Encode ``rel_coord`` (..., 2) into (..., 2 + pos_dim)."""
        frequencies = self.frequencies
        if frequencies is None:
            return rel_coord
        # elementwise: autocast would compute a matrix product in bfloat16, too coarse for frequencies of up to 64
        phase = (rel_coord.to(frequencies.dtype).unsqueeze(-2) * frequencies).sum(dim=-1)
        return torch.cat([rel_coord.to(phase.dtype), phase.sin(), phase.cos()], dim=-1)
