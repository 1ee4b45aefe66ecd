"""Figures of scores: box plots of every metric, agreement of sizes, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from i2net_bundle.figures.style import HATCHES, REFERENCE, SERIES, Picture, label_log_axis, wrapped
from i2net_bundle.metrics.mask_pair import FOUND, INVENTED, MISSED
from i2net_bundle.metrics.registry import DIAGONAL, Metric
from i2net_bundle.metrics.uncertainty import FEWEST
from i2net_bundle.reports.run_results import ScoreTable

_FEWEST = 10  # pixels that a bin needs for its accuracy to be meaningful
_NO_OVERLAP = {MISSED: "v", INVENTED: "^"}
_WIDTH = 12  # inches
_GAP = 0.1  # inches between rows of panels


def box_plots(scores: ScoreTable) -> Picture:
    """Box plots of every metric, one row per class; if the test set has several parts, one row per class and part.

    Metrics with the same label and unit, such as Dice of both protocols, share a panel.
    """
    panels = _panels(scores.metrics)
    rows = _rows(scores)
    lines = -(-len(panels) // 3)
    columns = -(-len(panels) // lines)
    height = 1.5 + len(rows) * min(0.55, 0.25 + 3 / len(rows))
    figure = Figure(figsize=(_WIDTH, lines * height), layout=ConstrainedLayoutEngine(h_pad=_GAP))
    axes = list(figure.subplots(lines, columns, squeeze=False, sharey=True).flat)
    for axis, panel in zip(axes, panels, strict=False):
        _draw_boxes(axis, panel, scores, rows)
    for axis in axes[len(panels) :]:
        axis.remove()
    return Picture(
        "boxes",
        figure,
        f"Box plots of {', '.join(metric.label for metric in scores.metrics)} for {', '.join(scores.classes)}; the "
        "table of scores lists the means.",
        "Every point is a case. Boxes span the quartiles, whiskers extend to 1.5 times the interquartile range, the "
        "line is the median. Triangles are missed (down) or invented (up) classes. Boxes of distances cover only the "
        "classes found; strict HD95 of the others, the image's diagonal, is drawn at the right edge.",
    )


def _panels(metrics: Sequence[Metric]) -> list[list[Metric]]:
    def kind(metric: Metric) -> tuple[str, str, str]:
        return metric.level, metric.short_label, metric.unit

    kinds = list(dict.fromkeys(kind(metric) for metric in metrics))
    return [list(group) for _, group in groupby(sorted(metrics, key=lambda m: kinds.index(kind(m))), kind)]


def _rows(scores: ScoreTable) -> list[tuple[str, np.ndarray, int]]:
    """Name, cases (bool) and class of every row."""
    parts = scores.texts("part")
    kinds = sorted(set(parts))
    return [
        (f"{name}, {part or 'no part'}" if len(kinds) > 1 else name, np.array([own == part for own in parts]), index)
        for index, name in enumerate(scores.classes)
        for part in kinds
    ]


def _draw_boxes(
    axis: Axes, panel: Sequence[Metric], scores: ScoreTable, rows: Sequence[tuple[str, np.ndarray, int]]
) -> None:
    first = panel[0]
    matrices = [scores.matrix(metric.name) for metric in panel]
    statuses = np.full(matrices[0].shape, FOUND) if first.level == "object" else scores.statuses()
    lost = np.isin(statuses, list(_NO_OVERLAP))
    edge = np.nan  # where diagonals are drawn: at their true place, one missed organ would squeeze all other values
    if DIAGONAL in (first.missed, first.invented):
        regular = matrices[0][np.isfinite(matrices[0]) & ~lost]
        edge = 1.12 * regular.max() if len(regular) and regular.max() > 0 else 1.0
    height = 0.8 / len(panel)
    spread = np.random.default_rng(0)
    for series, matrix in enumerate(matrices):
        color, _, marker = SERIES[series % len(SERIES)]
        for row, (_, chosen, column) in enumerate(rows):
            values, kinds = matrix[chosen, column], statuses[chosen, column]
            found = np.isfinite(values) & ~lost[chosen, column]
            middle = row + (series - (len(panel) - 1) / 2) * height
            _draw_box(axis, values[found if first.is_distance else np.isfinite(values)], middle, 0.75 * height, series)
            places = middle + spread.uniform(-0.18, 0.18, len(values)) * height
            axis.scatter(
                values[found], places[found], s=16, c=color, marker=marker, edgecolors="white", lw=0.4, zorder=3
            )
            for status, triangle in _NO_OVERLAP.items():
                here = np.isfinite(values) & (kinds == status)
                shown = values[here] if np.isnan(edge) else np.full(here.sum(), edge)
                axis.scatter(shown, places[here], s=42, c="black", marker=triangle, lw=0, zorder=4, clip_on=False)
    axis.set_yticks(range(len(rows)), [wrapped(name) for name, _, _ in rows])
    axis.set_ylim(len(rows) - 0.45, -0.55)
    axis.grid(visible=False, axis="y")
    for row in range(1, len(rows)):
        axis.axhline(row - 0.5, color="#d0d0d0", linewidth=0.8)
    unit = first.shown_unit(scores.distance_unit)
    title = first.label if len(panel) == 1 else first.short_label
    axis.set_title(f"{title}, {unit}" if unit else title)
    if first.unit == "share":
        axis.set_xlim(-0.03, 1.03)
    elif not np.isnan(edge):
        axis.set_xlim(-0.03 * edge, 1.04 * edge)
    elif first.is_distance:
        axis.set_xlim(left=-0.03 * axis.get_xlim()[1])
    elif first.better is None:
        axis.axvline(0, color=REFERENCE, linestyle=":", linewidth=1.2)
    _explain(axis, panel, sorted(set(statuses[lost])))


def _draw_box(axis: Axes, values: np.ndarray, middle: float, width: float, series: int) -> None:
    if len(values) < 3:
        return
    color = SERIES[series % len(SERIES)][0]
    box = axis.boxplot(
        values,
        positions=[middle],
        widths=width,
        orientation="horizontal",
        showfliers=False,
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": color + "40", "edgecolor": color, "hatch": HATCHES[series % len(HATCHES)]},
        medianprops={"color": "black", "linewidth": 1.6},
    )
    for line in (*box["whiskers"], *box["caps"]):
        line.set_color(color)


def _explain(axis: Axes, panel: Sequence[Metric], lost: Sequence[str]) -> None:
    """Add a legend below the axis, if there is anything to tell apart."""
    handles: list[Any] = []
    if len(panel) > 1:
        for (color, _, _), hatch, metric in zip(SERIES, HATCHES, panel, strict=False):
            handles.append(Patch(facecolor=color + "40", edgecolor=color, hatch=hatch, label=metric.protocol))
    for status in lost:
        handles.append(Line2D([], [], color="black", marker=_NO_OVERLAP[status], linestyle="", label=status))
    if handles:
        below = axis.transAxes + ScaledTranslation(0, -0.3, axis.figure.dpi_scale_trans)
        axis.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below, ncols=4, fontsize=9
        )


def bland_altman(scores: ScoreTable) -> Picture | None:
    """Bland-Altman plots of predicted and true volume (area, in images), one panel per class; None without sizes."""
    if {"label_ml", "pred_ml"} <= set(scores.columns):
        what, unit, suffix = "volume", "mL", "ml"
    elif {"label_voxels", "pred_voxels"} <= set(scores.columns):
        what, unit, suffix = (
            "area" if scores.unit == "px" else "volume",
            "px" if scores.unit == "px" else "voxels",
            "voxels",
        )
    else:
        return None
    truths, predictions = scores.matrix(f"label_{suffix}"), scores.matrix(f"pred_{suffix}")
    columns = min(4, len(scores.classes))
    rows = -(-len(scores.classes) // columns)
    figure = Figure(
        figsize=(_WIDTH if columns > 2 else 6 * columns, 3.2 * rows), layout=ConstrainedLayoutEngine(h_pad=_GAP)
    )
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    statuses = scores.statuses()
    for index, (axis, name) in enumerate(zip(axes, scores.classes, strict=False)):
        _draw_agreement(axis, truths[:, index], predictions[:, index], statuses[:, index])
        axis.set_title(wrapped(name, 20))
    for axis in axes[len(scores.classes) :]:
        axis.remove()
    figure.supxlabel(f"mean of predicted and true {what}, {unit}", fontsize=10)
    figure.supylabel(f"predicted - true {what}, {unit}", fontsize=10)
    return Picture(
        "agreement",
        figure,
        f"Bland-Altman plots of predicted and true {what} in {unit} for {', '.join(scores.classes)}.",
        "Bland-Altman plots; every point is a case. The solid line is the mean difference, dashed lines are the limits "
        f"of agreement (mean ± 1.96 standard deviations, from at least {FEWEST} cases), and the dotted line is zero. "
        "Triangles are missed (down) or invented (up) classes.",
    )


def _draw_agreement(axis: Axes, truth: np.ndarray, prediction: np.ndarray, statuses: np.ndarray) -> None:
    present = np.isfinite(truth) & np.isfinite(prediction) & ((truth > 0) | (prediction > 0))
    axis.axhline(0, color=REFERENCE, linestyle=":", linewidth=1.2)
    if not present.any():
        axis.text(0.5, 0.6, "in no case", transform=axis.transAxes, ha="center", color=REFERENCE)
        return
    mean, difference = (truth + prediction) / 2, prediction - truth
    color, _, marker = SERIES[0]
    found = present & ~np.isin(statuses, list(_NO_OVERLAP))
    axis.scatter(mean[found], difference[found], s=24, c=color, marker=marker, edgecolors="white", lw=0.4, zorder=3)
    for kind, triangle in _NO_OVERLAP.items():
        here = present & (statuses == kind)
        axis.scatter(mean[here], difference[here], s=42, c="black", marker=triangle, lw=0, zorder=4)
    bias = difference[present].mean()
    axis.axhline(bias, color=SERIES[1][0], linewidth=1.4)
    if present.sum() >= FEWEST:
        spread = 1.96 * difference[present].std(ddof=1)
        for limit in (bias - spread, bias + spread):
            axis.axhline(limit, color=SERIES[1][0], linestyle="--", linewidth=1.1)
    axis.margins(x=0.12, y=0.2)
    axis.locator_params(nbins=5)


def reliability_diagram(calibration: Mapping[str, Any]) -> Picture:
    """Accuracy against confidence, and the number of pixels per bin, from ``calibration.json``."""
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    diagram, counts = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.2])
    diagram.plot([0, 1], [0, 1], color=REFERENCE, linestyle=":", label="perfect calibration")
    groups = {"all": "all pixels", "foreground": "foreground, in truth or prediction"}
    errors = []
    for series, (group, name) in enumerate(groups.items()):
        part = calibration[group]
        color, line, marker = SERIES[series]
        bins, count = np.arange(len(part["count"])), np.array(part["count"])
        plotted = count >= _FEWEST
        confidence, accuracy = (np.array(part[key], np.float64)[plotted] for key in ("confidence", "accuracy"))
        label = f"{name}: ECE {part['ece']:.3f}" if part["ece"] is not None else f"{name}: none"
        errors.append(label)
        diagram.plot(confidence, accuracy, color=color, linestyle=line, marker=marker, markersize=5, label=label)
        middles = (bins + 0.5 + (series - 0.5) * 0.42) / len(bins)
        counts.bar(middles, count, width=0.4 / len(bins), color=color + "60", edgecolor=color, hatch=HATCHES[series])
    diagram.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    diagram.set_title("reliability")
    diagram.legend(loc="lower right")
    counts.set(xlabel="confidence: probability of the predicted class", ylabel="pixels")
    counts.set_yscale("log")
    label_log_axis(counts.yaxis)
    return Picture(
        "reliability",
        figure,
        f"Reliability diagram: {'; '.join(errors)}.",
        "Below the dotted line the network is overconfident. ECE, the expected calibration error, is the mean distance "
        f"of the pixels to that line; bins of fewer than {_FEWEST} pixels are not plotted. "
        f"Computed on {calibration['where']}.",
    )
