"""Run-length encoding of a mask: a pixel run is a stretch of consecutive pixels in one row.

Connected components, holes and outlines of pixel runs take memory proportional to the length of the outlines, not to
the area, so masks of whole slides fit in memory.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_STRIP_PIXELS = 1 << 22
"""Number of pixels encoded or painted at a time."""


@dataclasses.dataclass(frozen=True)
class PixelRuns:
    """Pixel runs of a mask in reading order; no two runs touch.

    Attributes:
        shape: (H, W) of the mask.
        starts: position of each run's first pixel, (N,) int64; a position is row · (W + 2) + column.
        stops: position after each run's last pixel, in the same row, (N,) int64.
    """

    shape: tuple[int, int]
    starts: np.ndarray
    stops: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray) -> PixelRuns:
        """Pixel runs of the non-zero pixels of a mask (H, W)."""
        height, width = mask.shape
        stride = width + 2
        rows = max(1, _STRIP_PIXELS // stride)
        starts, stops = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for top in range(0, height, rows):
            strip = mask[top : top + rows] != 0
            padded = np.zeros((len(strip), stride), bool)
            padded[:, 1:-1] = strip
            changes = np.flatnonzero(padded[:, 1:] ^ padded[:, :-1])  # in rows of W + 1
            row, col = np.divmod(changes, width + 1)
            positions = (top + row) * stride + col
            starts.append(positions[::2])
            stops.append(positions[1::2])
        return cls((height, width), np.concatenate(starts), np.concatenate(stops))

    @property
    def stride(self) -> int:
        """Difference between the positions of two vertical neighbours; rows are padded so that they never touch."""
        return self.shape[1] + 2

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Number of pixels of each run."""
        return self.stops - self.starts

    def at_border(self) -> np.ndarray:
        """Whether each run touches the first or last row or column of the mask."""
        row, col = np.divmod(self.starts, self.stride)
        return (row == 0) | (row == self.shape[0] - 1) | (col == 0) | (self.stops % self.stride == self.shape[1])

    def select(self, which: np.ndarray) -> PixelRuns:
        """Subset of the runs, by index or by condition."""
        return PixelRuns(self.shape, self.starts[which], self.stops[which])

    def holding(self, positions: np.ndarray) -> np.ndarray:
        """Index of the run that contains each position; -1 where none does."""
        index = np.searchsorted(self.starts, positions, side="right") - 1
        held = index >= 0
        held[held] = positions[held] < self.stops[index[held]]
        return np.where(held, index, -1)

    def components(self, corners: bool) -> np.ndarray:
        """Number of each run's connected component, from 0, in the order of the components' first pixels.

        Args:
            corners: whether pixels that share only a corner are connected.
        """
        reach = 1 if corners else 0
        first = np.searchsorted(self.stops, self.starts + self.stride - reach, side="right")
        last = np.searchsorted(self.starts, self.stops + self.stride + reach, side="left")
        below = np.maximum(last - first, 0)
        above = np.repeat(np.arange(len(below)), below)
        following = np.arange(len(above)) - np.repeat(np.cumsum(below) - below, below) + first[above]
        joined = coo_array((np.ones(len(above), bool), (above, following)), (len(below), len(below)))
        return connected_components(joined, directed=False)[1]

    def filled(self) -> PixelRuns:
        """The mask with its holes filled: background that no path along pixel edges connects to the border."""
        background = self._background()
        number = background.components(corners=False)
        is_open = np.zeros(number.max(initial=-1) + 1, bool)
        is_open[number[background.at_border()]] = True
        holes = background.select(~is_open[number])
        # a run of a hole begins where a run of the mask stops, and stops where the next one begins
        starts = np.setdiff1d(self.starts, holes.stops, assume_unique=True)
        stops = np.setdiff1d(self.stops, holes.starts, assume_unique=True)
        return PixelRuns(self.shape, starts, stops)

    def _background(self) -> PixelRuns:
        rows = np.arange(self.shape[0]) * self.stride
        starts, stops = np.concatenate([rows, self.stops]), np.concatenate([rows + self.shape[1], self.starts])
        starts.sort()
        stops.sort()
        return PixelRuns(self.shape, starts[starts < stops], stops[starts < stops])

    def painted(self, values: np.ndarray) -> np.ndarray:
        """Map (H, W) int32 with one value per run, 0 elsewhere."""
        row, col = np.divmod(self.starts, self.stride)
        first, done = row * self.shape[1] + col, np.cumsum(self.lengths)
        image = np.zeros(self.shape, np.int32)
        strips = np.searchsorted(done, np.arange(_STRIP_PIXELS, self.lengths.sum(), _STRIP_PIXELS))
        for part in np.split(np.arange(len(first)), strips):
            lengths = self.lengths[part]
            pixels = np.arange(lengths.sum()) + np.repeat(first[part] - (np.cumsum(lengths) - lengths), lengths)
            image.ravel()[pixels] = np.repeat(values[part], lengths)
        return image
