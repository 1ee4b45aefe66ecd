"""Assign distinct colours to classes that have none; the result is the same in every run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

BLACK = "#000000"
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#882255")
"""Okabe and Ito's palette for colour-blind readers, with wine instead of grey."""

_LEVELS = (0x20, 0x44, 0x68, 0x8C, 0xB0, 0xD4, 0xF8)
_CANDIDATES = np.array(list(itertools.product(_LEVELS, repeat=3)), np.float64)  # (343, 3), more than 256 classes


def distinct_colors(preferred: Sequence[str | None], first: Sequence[bool]) -> list[str]:
    """Assign a unique colour to every class.

    A class keeps its preferred colour unless another class has it already. The others get the free colours of the
    palette, then the candidate farthest from all colours in use.

    Args:
        preferred: ``#RRGGBB`` or None for each class.
        first: for each class, whether its preference takes precedence over those of the other classes.

    Returns:
        a colour for each class.
    """
    colors = dict.fromkeys(range(len(preferred)), "")
    for index in sorted(colors, key=lambda index: not first[index]):
        color = preferred[index]
        if color and color not in colors.values():
            colors[index] = color
    free = [color for color in PALETTE if color not in colors.values()]
    nearest = np.full(len(_CANDIDATES), np.inf)
    for color in (BLACK, *PALETTE, *colors.values()):
        if color:
            nearest = np.minimum(nearest, _distances(_rgb(color)))
    for index, color in colors.items():
        if not color:
            if free:
                colors[index] = free.pop(0)
                continue
            farthest = _CANDIDATES[nearest.argmax()]
            nearest = np.minimum(nearest, _distances(farthest))
            colors[index] = "#{:02X}{:02X}{:02X}".format(*farthest.astype(int))
    return list(colors.values())


def _distances(rgb: np.ndarray) -> np.ndarray:
    """Return the squared perceptual distances of all candidates from a colour ("redmean" approximation)."""
    red = (_CANDIDATES[:, 0] + rgb[0]) / 2
    weights = np.stack([2 + red / 256, np.full_like(red, 4), 2 + (255 - red) / 256], axis=1)
    squares: np.ndarray = (weights * (_CANDIDATES - rgb) ** 2).sum(axis=1)
    return squares


def _rgb(color: str) -> np.ndarray:
    return np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)], np.float64)
