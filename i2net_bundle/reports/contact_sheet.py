"""Contact sheets: the cases of a data set as tiles, with the contours of their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from i2net_bundle.figures.side_letters import NO_LETTERS, draw_side_letters
from i2net_bundle.io.findings import Finding
from i2net_bundle.io.printable import printable

_COLUMNS = 3
_TILE_INCHES = 3.6
_MARKED = "#b3261e"


@dataclass(frozen=True)
class Panel:
    """One picture of a tile.

    Attributes:
        picture: grey (H, W) or RGB (H, W, 3), in [0, 1].
        ids: class indices or instance ids (H, W).
        aspect: height of a pixel over its width.
        letters: letters at the left and the right edge, see `side_letters`.
    """

    picture: np.ndarray
    ids: np.ndarray
    aspect: float = 1.0
    letters: tuple[str, str] = NO_LETTERS


@dataclass
class Tile:
    """One case of a contact sheet.

    Attributes:
        name: name of the image file, or of the case if it has one file per channel.
        split: list of the data list that names the case.
        panels: pictures of the case.
        findings: findings of its check.
        amounts: class name to volume in mL, or to share of the image.
        volume: whether the case is a volume.
    """

    name: str
    split: str
    panels: list[Panel] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    amounts: dict[str, float] = field(default_factory=dict)
    volume: bool = True


def draw_sheet(tiles: Sequence[Tile], colors: Sequence[str]) -> Figure:
    """Draw tiles in rows.

    Args:
        tiles: one or more cases. Titles of cases with findings are red.
        colors: colours of the labels from 1, used again from the start if there are more labels.
    """
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    figure = Figure(figsize=(columns * _TILE_INCHES * 1.25, rows * _TILE_INCHES * 1.1), layout="constrained")
    parts = figure.subfigures(rows, columns, squeeze=False)
    for part, tile in zip(parts.flat, tiles, strict=False):
        marked = bool(tile.findings)
        title = printable(f"{tile.name}  ({tile.split})")
        part.suptitle(title, fontsize=9, color=_MARKED if marked else "black", parse_math=False)
        if not tile.panels:
            axis = part.subplots()
            axis.text(0.5, 0.5, "cannot be read;\nthe page says why", ha="center", va="center", color=_MARKED)
            axis.axis("off")
            continue
        axes = part.subplot_mosaic("AB\nAC" if len(tile.panels) == 3 else "A")
        for axis, panel in zip(axes.values(), tile.panels, strict=True):
            _draw_panel(axis, panel, colors)
        if marked:
            rules = ", ".join(dict.fromkeys(finding.rule for finding in tile.findings))
            part.supxlabel(f"marked: {rules}", fontsize=8, color=_MARKED)
    return figure


def _draw_panel(axis: Axes, panel: Panel, colors: Sequence[str]) -> None:
    axis.imshow(panel.picture, cmap="gray", vmin=0, vmax=1, aspect=panel.aspect)
    ids, (height, width) = panel.ids, panel.ids.shape
    columns, rows = np.arange(-1, width + 1), np.arange(-1, height + 1)
    for index in np.unique(ids[ids > 0]):
        color = colors[(int(index) - 1) % len(colors)]
        inside = np.pad(ids == index, 1)  # closes contours at the border, and outlines a single row on both sides
        axis.contour(columns, rows, inside, levels=[0.5], colors=color, linewidths=1.0)
    axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axis.axis("off")
    draw_side_letters(axis, panel.letters)
