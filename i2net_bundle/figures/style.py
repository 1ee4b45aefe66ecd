"""How the report's figures look: legible, and told apart by marker, line and hatch as well as by colour."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SERIES = (
    ("#0072B2", "-", "o"),
    ("#D55E00", "--", "s"),
    ("#009E73", "-.", "^"),
    ("#CC79A7", ":", "D"),
    ("#E69F00", (0, (5, 1)), "v"),
    ("#56B4E9", (0, (1, 1)), "P"),
)
"""Colour (Okabe and Ito's), line style and marker of a figure's first, second, ... series."""
HATCHES = ("", "////")
REFERENCE = "#555555"

_STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # names of files and organs may hold dollar signs
}


@dataclass(frozen=True)
class Picture:
    """A figure of the report.

    Attributes:
        name: of its file, without the ending.
        figure: what is drawn.
        alt: what it shows, for those who cannot see it.
        caption: how to read it.
    """

    name: str
    figure: Figure
    alt: str
    caption: str


@contextmanager
def report_style() -> Iterator[None]:
    """Draw and save figures in the report's style."""
    with mpl.rc_context(_STYLE):
        yield


def plot_series(axis: Axes, number: int, x: np.ndarray, y: np.ndarray, label: str | None = None) -> None:
    """Plot values over epochs or bins as the figure's series ``number``; markers as long as there are few points."""
    color, line, marker = SERIES[number % len(SERIES)]
    axis.plot(x, y, color=color, linestyle=line, marker=marker if len(x) <= 40 else "", markersize=4, label=label)
