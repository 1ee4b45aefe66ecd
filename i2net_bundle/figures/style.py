"""Style of the report's figures: series differ by marker, line and hatch as well as by colour."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

SERIES = (
    ("#0072B2", "-", "o"),
    ("#D55E00", "--", "s"),
    ("#009E73", "-.", "^"),
    ("#CC79A7", ":", "D"),
    ("#E69F00", (0, (5, 1)), "v"),
    ("#56B4E9", (0, (1, 1)), "P"),
)
"""Colour (from Okabe and Ito's palette), line style and marker of the first, second, ... series of a figure."""
HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "++++")
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
    "text.parse_math": False,  # names of files and classes may contain dollar signs
}
_FALLBACK_FONTS = (
    *(
        "Noto Sans CJK SC",
        "Noto Sans CJK JP",
        "Noto Sans CJK KR",
        "WenQuanYi Zen Hei",
        "Microsoft YaHei",
        "PingFang SC",
    ),
    *("Hiragino Sans", "Yu Gothic", "Malgun Gothic", "Noto Sans", "Noto Sans Devanagari", "Noto Sans Arabic"),
)
"""Fonts for scripts that Matplotlib's default font lacks; those that are installed are used."""


def label_log_axis(axis: Axis) -> None:
    """Label the ticks of a logarithmic axis with plain numbers: at powers of ten, and between them on a short axis.

    Matplotlib's own labels are mathtext, which is not parsed here.
    """
    axis.axes.autoscale_view()
    low, high = sorted(axis.get_view_interval())
    plain = FuncFormatter(lambda value, _: f"{value:,g}")
    axis.set_major_formatter(plain)
    axis.set_minor_formatter(plain if high < 10 * low else NullFormatter())


@dataclass(frozen=True)
class Picture:
    """A figure of the report.

    Attributes:
        name: name of its file, without the suffix.
        figure: the figure.
        alt: description for readers who cannot see it.
        caption: how to read it.
    """

    name: str
    figure: Figure
    alt: str
    caption: str


@contextmanager
def report_style() -> Iterator[None]:
    """Draw and save figures in the style of the report."""
    with mpl.rc_context({**_STYLE, "font.family": ["DejaVu Sans", *_installed_fallbacks()]}):
        yield


def plot_series(axis: Axes, number: int, x: np.ndarray, y: np.ndarray, label: str | None = None) -> None:
    """Plot a curve as series ``number`` of a figure, with markers if there are few points."""
    color, line, marker = SERIES[number % len(SERIES)]
    axis.plot(x, y, color=color, linestyle=line, marker=marker if len(x) <= 40 else "", markersize=4, label=label)


def wrapped(name: str, width: int = 24, lines: int = 2) -> str:
    r"""A name broken into short lines; what does not fit is replaced by "…".

    >>> wrapped("left superior pulmonary vein", 16)
    'left superior\npulmonary vein'
    """
    rows = textwrap.wrap(name, width) or [name]
    if len(rows) > lines:
        rows = [*rows[: lines - 1], rows[lines - 1][: width - 1].rstrip() + "…"]
    return "\n".join(rows)


@functools.cache
def _installed_fallbacks() -> list[str]:
    installed = set(font_manager.get_font_names())
    return [name for name in _FALLBACK_FONTS if name in installed]
