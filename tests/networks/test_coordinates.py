"""Cell centres, nearest cells, relative coordinates and their Fourier encoding."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch.nn import functional as F

from i2net_bundle.networks.coordinates import FourierEncoding, nearest_cells, sample_nearest


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def cell_centres(num_cells: int) -> torch.Tensor:
    """-1 + (2i + 1) / n in float64, written as the paper has it."""
    return torch.tensor([-1 + (2 * i + 1) / num_cells for i in range(num_cells)], dtype=torch.float64)


def query_grid(height: int, width: int) -> torch.Tensor:
    """Query centres as `grid_sample` wants them: (1, H, W, 2), last axis (x, y), float64."""
    y, x = torch.meshgrid(cell_centres(height), cell_centres(width), indexing="ij")
    return torch.stack([x, y], dim=-1)[None]


def between_two_cells(num_queries: int, num_cells: int) -> torch.Tensor:
    """Which queries have two nearest cells: (2i + 1) n / 2N is a whole number."""
    return torch.tensor([(2 * i + 1) * num_cells % (2 * num_queries) == 0 for i in range(num_queries)])


class TestNearestCells:
    @pytest.mark.parametrize(
        ("num_queries", "num_cells", "cells", "rel_coord"),
        [
            # rel_coord is in half cells: centres of 4 queries -3/4 -1/4 1/4 3/4, of 2 cells -1/2 1/2; times 2
            pytest.param(4, 2, [0, 0, 1, 1], [-1 / 2, 1 / 2, -1 / 2, 1 / 2], id="two queries per cell"),
            # queries -2/3 0 2/3, cells -1/2 1/2: (-2/3 + 1/2) 2 = -1/3; 0 is a tie, cell 0: (0 + 1/2) 2 = 1; 1/3
            pytest.param(3, 2, [0, 0, 1], [-1 / 3, 1.0, 1 / 3], id="tie between 0 and 1 goes to 0"),
            # queries -2/3 0 2/3, cells -3/4 -1/4 1/4 3/4: (-2/3 + 3/4) 4 = 1/3; tie 1|2, cell 2: (0 - 1/4) 4 = -1; -1/3
            pytest.param(3, 4, [0, 2, 3], [1 / 3, -1.0, -1 / 3], id="tie between 1 and 2 goes to 2"),
            # queries -1/2 1/2, cells -4/5 -2/5 0 2/5 4/5: (-1/2 + 2/5) 5 = -1/2 and 1/2
            pytest.param(2, 5, [1, 3], [-1 / 2, 1 / 2], id="fewer queries than cells"),
            pytest.param(3, 3, [0, 1, 2], [0.0, 0.0, 0.0], id="same grid"),
            # one cell centred at 0: the query itself, times 1
            pytest.param(4, 1, [0, 0, 0, 0], [-3 / 4, -1 / 4, 1 / 4, 3 / 4], id="one cell"),
        ],
    )
    def test_hand_worked_cells(
        self, num_queries: int, num_cells: int, cells: list[int], rel_coord: list[float]
    ) -> None:
        cell, rel = nearest_cells(num_queries, num_cells)
        assert cell.tolist() == cells
        torch.testing.assert_close(rel, torch.tensor(rel_coord))

    @pytest.mark.parametrize("num_cells", range(1, 26))
    def test_cells_and_offsets_equal_exact_fractions(self, num_cells: int) -> None:
        for num_queries in range(1, 41):
            # a query's place in units of cells, from the centre of cell 0; round() of a Fraction ties to even
            places = [Fraction((2 * i + 1) * num_cells, 2 * num_queries) - Fraction(1, 2) for i in range(num_queries)]
            cell, rel_coord = nearest_cells(num_queries, num_cells)
            assert cell.tolist() == [round(place) for place in places], f"{num_queries} queries on {num_cells}"
            # (p - p*) n is twice the offset in cells, for a cell is 2/n wide
            expected = torch.tensor([float(2 * (place - round(place))) for place in places])
            torch.testing.assert_close(rel_coord, expected, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("num_cells", range(1, 26))
    def test_cells_equal_grid_sample_where_one_cell_is_nearest(self, num_cells: int) -> None:
        index = torch.arange(num_cells, dtype=torch.float64).view(1, 1, 1, num_cells)
        for num_queries in range(1, 41):
            sampled = F.grid_sample(index, query_grid(1, num_queries), mode="nearest", align_corners=False).flatten()
            one_is_nearest = ~between_two_cells(num_queries, num_cells)
            cell, _ = nearest_cells(num_queries, num_cells)
            assert torch.equal(cell[one_is_nearest], sampled.long()[one_is_nearest]), f"{num_queries} on {num_cells}"

    @pytest.mark.parametrize(("num_queries", "num_cells"), [(3, 2), (3, 4), (5, 6), (7, 8), (131, 66), (193, 98)])
    def test_a_tie_at_the_centre_goes_where_grid_sample_sends_it(self, num_queries: int, num_cells: int) -> None:
        # other ties lie at coordinates that floating point does not hold exactly, so grid_sample's choice is chance
        middle = num_queries // 2
        assert between_two_cells(num_queries, num_cells)[middle]
        index = torch.arange(num_cells, dtype=torch.float32).view(1, 1, 1, num_cells)
        sampled = F.grid_sample(index, torch.zeros(1, 1, 1, 2), mode="nearest", align_corners=False).item()
        assert nearest_cells(num_queries, num_cells)[0][middle].item() == sampled

    @pytest.mark.parametrize(
        ("num_queries", "num_cells"), [(1, 1), (1, 1000), (1000, 1), (999, 1000), (131, 66), (57, 15), (5000, 4999)]
    )
    def test_cells_lie_on_the_map_and_offsets_within_one(self, num_queries: int, num_cells: int) -> None:
        cell, rel_coord = nearest_cells(num_queries, num_cells)
        assert cell.dtype == torch.int64
        assert cell.min() >= 0
        assert cell.max() < num_cells
        assert rel_coord.abs().max() <= 1

    def test_offset_reconstructs_the_query(self) -> None:
        cell, rel_coord = nearest_cells(57, 15)
        torch.testing.assert_close(
            cell_centres(15)[cell] + rel_coord.double() / 15, cell_centres(57), rtol=0, atol=1e-7
        )


class TestSampleNearest:
    @pytest.mark.parametrize(
        ("cells", "queries"),
        [
            pytest.param((4, 6), (8, 12), id="ratio 2"),
            pytest.param((4, 4), (32, 32), id="ratio 8"),
            pytest.param((15, 17), (57, 66), id="odd ratio"),
            pytest.param((9, 12), (9, 12), id="same grid"),
            pytest.param((13, 11), (5, 3), id="coarser queries"),
            pytest.param((1, 3), (7, 9), id="one row"),
        ],
    )
    def test_samples_equal_grid_sample(self, cells: tuple[int, int], queries: tuple[int, int]) -> None:
        feature = torch.randn(2, 3, *cells, dtype=torch.float64)
        grid = query_grid(*queries).expand(2, -1, -1, -1)
        expected = F.grid_sample(feature, grid, mode="nearest", align_corners=False)
        sampled, rel_coord = sample_nearest(feature, *queries)
        assert torch.equal(sampled.permute(0, 3, 1, 2), expected)
        centres = query_grid(*cells).permute(0, 3, 1, 2)  # (1, 2, n_y, n_x), (x, y)
        nearest_centre = F.grid_sample(centres, grid[:1], mode="nearest", align_corners=False)[0]  # (2, H, W)
        offset_xy = (grid[0].permute(2, 0, 1) - nearest_centre) * torch.tensor(cells[::-1]).view(2, 1, 1)
        torch.testing.assert_close(rel_coord.double(), offset_xy.permute(1, 2, 0).flip(-1), rtol=0, atol=1e-6)

    def test_rel_coord_is_y_then_x(self) -> None:
        _, rel_coord = sample_nearest(torch.zeros(1, 1, 1, 2), 2, 2)
        # along y one cell, queries -1/2 and 1/2 off its centre; along x every query on a centre
        assert rel_coord[..., 0].tolist() == [[-0.5, -0.5], [0.5, 0.5]]
        assert rel_coord[..., 1].tolist() == [[0.0, 0.0], [0.0, 0.0]]

    def test_gradient_of_a_cell_counts_the_queries_it_answers(self) -> None:
        feature = torch.zeros(1, 1, 2, 3, requires_grad=True)
        sample_nearest(feature, 3, 3)[0].sum().backward()
        # 3 rows on 2: two go to row 0 (the tie), one to row 1; columns one each
        assert feature.grad[0, 0].tolist() == [[2.0, 2.0, 2.0], [1.0, 1.0, 1.0]]


class TestFourierEncoding:
    def test_frequencies_are_powers_of_two_axis_after_axis(self) -> None:
        # pos_dim 12: 3 per axis, 2^0, 2^3, 2^6
        expected = [[1.0, 0.0], [8.0, 0.0], [64.0, 0.0], [0.0, 1.0], [0.0, 8.0], [0.0, 64.0]]
        torch.testing.assert_close(FourierEncoding(12).frequencies.data, torch.tensor(expected))

    def test_one_point_is_encoded_by_hand(self) -> None:
        y, x = 0.5, -0.25
        phases = [y * 1, y * 64, x * 1, x * 64]  # 2^linspace(0, 6, 2) = 1, 64
        expected = [y, x, *map(math.sin, phases), *map(math.cos, phases)]
        torch.testing.assert_close(FourierEncoding(8)(torch.tensor([y, x])), torch.tensor(expected))

    def test_raw_coordinates_pass_unchanged_without_parameters(self) -> None:
        encoding, rel_coord = FourierEncoding(0), torch.rand(3, 4, 2)
        assert torch.equal(encoding(rel_coord), rel_coord)
        assert not list(encoding.parameters())

    @pytest.mark.parametrize("pos_dim", [0, 4, 8, 24])
    def test_two_plus_pos_dim_numbers_come_out(self, pos_dim: int) -> None:
        encoding = FourierEncoding(pos_dim)
        assert encoding(torch.rand(5, 3, 2)).shape == (5, 3, 2 + pos_dim)
        assert encoding.out_channels == 2 + pos_dim

    def test_both_axes_of_every_frequency_learn(self) -> None:
        encoding = FourierEncoding(8)
        encoding(torch.rand(50, 2)).square().mul(torch.rand(50, 10)).sum().backward()
        assert (encoding.frequencies.grad != 0).all()

    @pytest.mark.parametrize("pos_dim", [-4, 1, 6])
    def test_a_size_that_is_no_multiple_of_four_is_refused(self, pos_dim: int) -> None:
        with pytest.raises(ValueError, match=f"pos_dim must be 0 or a positive multiple of 4, got {pos_dim}"):
            FourierEncoding(pos_dim)

    def test_encoding_keeps_its_precision_under_bfloat16_autocast(self) -> None:
        encoding = FourierEncoding(8)
        rel_coord = query_grid(40, 40)[0].float()
        exact = encoding(rel_coord)
        with torch.autocast("cpu", torch.bfloat16):
            under_autocast = encoding(rel_coord)
        # bfloat16 holds numbers in [-1, 1] to 2^-9
        torch.testing.assert_close(under_autocast.float(), exact, rtol=0, atol=2**-8)
