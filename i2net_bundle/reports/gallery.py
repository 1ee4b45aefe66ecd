"""Figures of cases: where the prediction is wrong and, for networks with gates, which learners are active where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from i2net_bundle.figures.case_panels import add_legend, draw_comparison, legend_height
from i2net_bundle.figures.style import wrapped
from i2net_bundle.reports.views import WHOLE_IMAGE, View

_WIDTH = 12.8  # inches
_ERROR_PANELS = 4


def draw_case(views: Sequence[View], class_names: Sequence[str], title: str) -> Figure:
    """Draw a case: image, truth, prediction and errors of every view; below them the gates, if any, and their entropy.

    Args:
        views: one or more views of the same size.
        class_names: names of the classes, background first.
        title: title of the figure.
    """
    has_gates = len(views[0].gates) > 0
    heights = [_row_heights(view)[: 1 + has_gates] for view in views]
    shown = {int(index) for view in views for index in _classes(view)}
    total = sum(map(sum, heights)) + 0.55 + legend_height(class_names, shown)
    figure = Figure(figsize=(_WIDTH, total), layout="constrained")
    ratios = [part for pair in heights for part in pair]
    rows: Any = iter(figure.subfigures(len(ratios), 1, height_ratios=ratios, squeeze=False)[:, 0])
    for view in views:
        _draw_errors(next(rows).subplots(1, _ERROR_PANELS), view, class_names)
        if has_gates:
            _draw_gates(next(rows), view)
    figure.suptitle(wrapped(title, 120, 3), parse_math=False, fontweight="bold")
    add_legend(figure, class_names, shown)
    return figure


def draw_overlay(view: View, class_names: Sequence[str], title: str) -> Figure:
    """Draw image, truth, prediction and errors of one view; arguments as in `draw_case`."""
    figure = Figure(figsize=(_WIDTH, _row_heights(view)[0] + 0.9), layout="constrained")
    _draw_errors(figure.subplots(1, _ERROR_PANELS), view, class_names)
    figure.suptitle(title, parse_math=False)
    add_legend(figure, class_names, {int(index) for index in _classes(view)})
    return figure


def draw_gates(view: View, title: str) -> Figure:
    """Draw the gate of every learner and the gate entropy of one view."""
    figure = Figure(figsize=(_WIDTH, _row_heights(view)[1] + 0.5), layout="constrained")
    _draw_gates(figure, view)
    figure.suptitle(title, parse_math=False)
    return figure


def _row_heights(view: View) -> tuple[float, float]:
    """Height in inches of the row of errors and of the row of gates, titles included."""
    height, width = view.truth.shape
    ratio = view.aspect * height / width
    gates = len(view.gates) + 1
    return _WIDTH / _ERROR_PANELS * ratio + 0.35, 0.93 * _WIDTH / max(gates, 4) * ratio + 0.4


def _classes(view: View) -> np.ndarray:
    return np.unique([*np.unique(view.truth), *np.unique(view.prediction)])


def _draw_errors(axes: Sequence[Axes], view: View, class_names: Sequence[str]) -> None:
    image = view.image if view.image.ndim == 3 else np.repeat(view.image[..., None], 3, axis=-1)
    draw_comparison(axes, image / 255, view.truth, view.prediction, class_names, view.aspect, view.letters)
    if view.index != WHOLE_IMAGE:
        axes[0].set_title(f"image, slice {view.index}")


def _draw_gates(figure: Any, view: View) -> None:
    num_learners = len(view.gates)
    axes = figure.subplots(1, num_learners + 1, squeeze=False)[0]
    aspect = view.aspect * (view.truth.shape[0] / view.gates.shape[1]) / (view.truth.shape[1] / view.gates.shape[2])
    size = {} if num_learners <= 3 else {"fontsize": 9}
    for number, (axis, gate) in enumerate(zip(axes[:-1], view.gates, strict=True)):
        shown = axis.imshow(gate.astype(np.float32), cmap="viridis", vmin=0, vmax=1, aspect=aspect)
        axis.set_title(f"gate {number}, mean {gate.mean(dtype=np.float64):.2f}", **size)
    _add_bar(axes[-2], shown, [0, 1], ["0", "1"])
    top = max(math.log(num_learners), 1e-6)
    entropy = view.entropy()
    shown = axes[-1].imshow(entropy, cmap="magma", vmin=0, vmax=top, aspect=aspect)
    axes[-1].set_title(f"gate entropy, mean {entropy.mean():.2f}", **size)
    _add_bar(axes[-1], shown, [0, top], ["0", f"ln {num_learners}"] if num_learners > 1 else ["0", ""])
    for axis in axes:
        axis.axis("off")


def _add_bar(axis: Axes, shown: Any, ticks: Sequence[float], labels: Sequence[str]) -> None:
    """Add a colour bar as high as the picture, whatever its aspect ratio."""
    bar = axis.figure.colorbar(shown, cax=axis.inset_axes((1.03, 0, 0.04, 1)))
    bar.set_ticks(list(ticks), labels=list(labels))
