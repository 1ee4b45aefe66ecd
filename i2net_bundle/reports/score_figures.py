"""Figures of scores: spread per class under both protocols, agreement of amounts, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from i2net_bundle.figures.style import HATCHES, REFERENCE, SERIES, Picture
from i2net_bundle.metrics.protocols import FOUND, INVENTED, MISSED
from i2net_bundle.reports.run_results import ScoreTable

_FEWEST = 10  # pixels of a bin, for its accuracy to say anything
_NO_OVERLAP = {MISSED: "v", INVENTED: "^"}


@dataclass(frozen=True)
class _Panel:
    """One axis of box plots: columns of ``metrics.csv``, each with its name."""

    title: str
    metrics: Mapping[str, str]
    unit: str = ""
    per_case: bool = False  # one value per case, whatever its class
    penalised: bool = False  # the volume's diagonal where a class was missed or invented


def box_plots(scores: ScoreTable) -> Picture:
    """Box plots of Dice and HD95 under both protocols, and of object scores where there are any, a row per class.

    Where cases come of several parts of a test set, every class has a row per part.
    """
    panels = [
        _Panel("Dice", {"strict_dice": "strict", "transunet_dice": "transunet"}),
        _Panel("HD95, strict", {"strict_hd95": "strict"}, scores.unit, penalised=True),
        _Panel("HD95, transunet", {"transunet_hd95": "transunet"}, "px" if scores.unit == "px" else "voxels"),
        _Panel("objects: F1 and Dice", {"object_f1": "F1", "object_dice": "object Dice"}, per_case=True),
        _Panel("objects: Hausdorff", {"object_hausdorff": "Hausdorff"}, "px", per_case=True),
    ]
    panels = [panel for panel in panels if any(metric in scores.columns for metric in panel.metrics)]
    rows = _rows(scores)
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(12, lines * (1.5 + 0.55 * len(rows))), layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False, sharey=True).flat)
    for axis, panel in zip(axes, panels, strict=False):
        _draw_boxes(axis, panel, scores, rows)
    for axis in axes[len(panels) :]:
        axis.remove()
    names = ", ".join(scores.classes)
    return Picture(
        "boxes",
        figure,
        f"Box plots of scores for {names}; the table of scores holds their means.",
        "Every point is a case; boxes span the quartiles, whiskers 1.5 times their range, and the line is the median. "
        "Triangles are classes that were missed (down) or invented (up). Of distances, boxes are of the classes found; "
        "strict HD95 counts the volume's diagonal where one was not, shown as a triangle at the right edge, and "
        "transunet counts 0.",
    )


def _rows(scores: ScoreTable) -> list[tuple[str, np.ndarray, int]]:
    """Name, cases (bool) and class of every row."""
    parts = scores.texts("part")
    kinds = sorted(set(parts))
    rows = []
    for index, name in enumerate(scores.classes):
        for part in kinds:
            label = f"{name}, {part or 'no part'}" if len(kinds) > 1 else name
            rows.append((label, np.array([own == part for own in parts]), index))
    return rows


def _draw_boxes(axis: Axes, panel: _Panel, scores: ScoreTable, rows: Sequence[tuple[str, np.ndarray, int]]) -> None:
    metrics = [metric for metric in panel.metrics if metric in scores.columns]
    matrices = [scores.matrix(metric) for metric in metrics]
    statuses = np.full(matrices[0].shape, FOUND) if panel.per_case else scores.statuses()
    lost = np.isin(statuses, list(_NO_OVERLAP))
    edge = np.nan
    if panel.unit and panel.penalised:  # where one organ is missed, the diagonal would squeeze all others
        regular = matrices[0][np.isfinite(matrices[0]) & ~lost]
        edge = 1.12 * regular.max() if len(regular) and regular.max() > 0 else 1.0
    height = 0.8 / len(metrics)
    spread = np.random.default_rng(0)
    for series, matrix in enumerate(matrices):
        color, _, marker = SERIES[series]
        for row, (_, chosen, column) in enumerate(rows):
            values, kinds = matrix[chosen, column], statuses[chosen, column]
            found = np.isfinite(values) & ~lost[chosen, column]
            middle = row + (series - (len(metrics) - 1) / 2) * height
            _draw_box(axis, values[found if panel.unit else np.isfinite(values)], middle, 0.75 * height, series)
            places = middle + spread.uniform(-0.18, 0.18, len(values)) * height
            axis.scatter(
                values[found], places[found], s=16, c=color, marker=marker, edgecolors="white", lw=0.4, zorder=3
            )
            for kind, triangle in _NO_OVERLAP.items():
                here = np.isfinite(values) & (kinds == kind)
                shown = values[here] if np.isnan(edge) else np.full(here.sum(), edge)
                axis.scatter(shown, places[here], s=42, c="black", marker=triangle, lw=0, zorder=4, clip_on=False)
    axis.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axis.set_ylim(len(rows) - 0.45, -0.55)
    axis.grid(visible=False, axis="y")
    for row in range(1, len(rows)):
        axis.axhline(row - 0.5, color="#d0d0d0", linewidth=0.8)
    axis.set_title(f"{panel.title}, {panel.unit}" if panel.unit else panel.title)
    if not panel.unit:
        axis.set_xlim(-0.03, 1.03)
    elif np.isnan(edge):
        axis.set_xlim(left=-0.03 * axis.get_xlim()[1])
    else:
        axis.set_xlim(-0.03 * edge, 1.04 * edge)
    _explain(axis, panel, metrics, sorted(set(statuses[lost])))


def _draw_box(axis: Axes, values: np.ndarray, middle: float, width: float, series: int) -> None:
    if len(values) < 3:
        return
    color = SERIES[series][0]
    box = axis.boxplot(
        values,
        positions=[middle],
        widths=width,
        orientation="horizontal",
        showfliers=False,
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": color + "40", "edgecolor": color, "hatch": HATCHES[series]},
        medianprops={"color": "black", "linewidth": 1.6},
    )
    for line in (*box["whiskers"], *box["caps"]):
        line.set_color(color)


def _explain(axis: Axes, panel: _Panel, metrics: Sequence[str], lost: Sequence[str]) -> None:
    """A legend below the axis, where there is something to tell apart."""
    handles: list[Any] = []
    if len(metrics) > 1:
        for (color, _, _), hatch, metric in zip(SERIES, HATCHES, metrics, strict=False):
            name = panel.metrics[metric]
            handles.append(Patch(facecolor=color + "40", edgecolor=color, hatch=hatch, label=name))
    for kind in lost:
        handles.append(Line2D([], [], color="black", marker=_NO_OVERLAP[kind], linestyle="", label=kind))
    if handles:
        below = axis.transAxes + ScaledTranslation(0, -0.3, axis.figure.dpi_scale_trans)
        axis.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below, ncols=4, fontsize=9
        )


def bland_altman(scores: ScoreTable) -> Picture | None:
    """Difference of predicted and true volume (area, of images) over their mean, a panel per class.

    None where no class has an amount.
    """
    kinds = (("label_ml", "pred_ml", "mL"), ("label_px", "pred_px", "px"), ("label_voxels", "pred_voxels", "voxels"))
    found = next((kind for kind in kinds if kind[0] in scores.columns and kind[1] in scores.columns), None)
    if found is None:
        return None
    truths, predictions = scores.matrix(found[0]), scores.matrix(found[1])
    unit = "px" if scores.unit == "px" and found[2] == "voxels" else found[2]
    what = "volume" if unit == "mL" else "area" if unit == "px" else "amount"
    columns = min(4, len(scores.classes))
    rows = -(-len(scores.classes) // columns)
    figure = Figure(figsize=(12 if columns > 2 else 6 * columns, 3.1 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    statuses = scores.statuses()
    for index, (axis, name) in enumerate(zip(axes, scores.classes, strict=False)):
        _draw_agreement(axis, truths[:, index], predictions[:, index], statuses[:, index])
        axis.set_title(name)
    for axis in axes[len(scores.classes) :]:
        axis.remove()
    figure.supxlabel(f"mean of true and predicted {what}, {unit}", fontsize=10)
    figure.supylabel(f"predicted - true {what}, {unit}", fontsize=10)
    return Picture(
        "agreement",
        figure,
        f"Bland-Altman plots of predicted and true {what} in {unit} for {', '.join(scores.classes)}.",
        "Bland-Altman: every point is a case. The solid line is the mean difference, dashed lines are the limits of "
        "agreement (mean ± 1.96 standard deviations), the dotted line is no difference. Triangles are missed (down) or "
        "invented (up).",
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
    if present.sum() > 2:
        spread = 1.96 * difference[present].std(ddof=1)
        for limit in (bias - spread, bias + spread):
            axis.axhline(limit, color=SERIES[1][0], linestyle="--", linewidth=1.1)
    axis.margins(x=0.12, y=0.2)
    axis.locator_params(nbins=5)


def reliability_diagram(calibration: Mapping[str, Any]) -> Picture:
    """Accuracy over confidence, and how many pixels there are of each, from ``calibration.json``."""
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    diagram, counts = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.2])
    diagram.plot([0, 1], [0, 1], color=REFERENCE, linestyle=":", label="as often right as it says")
    groups = {"all": "all pixels", "foreground": "pixels of a class, in truth or prediction"}
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
    counts.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return Picture(
        "reliability",
        figure,
        f"Reliability diagram: {'; '.join(errors)}.",
        "Below the dotted line the network is surer than it is right. ECE, the expected calibration error, is the mean "
        f"distance to that line over pixels; bins of fewer than {_FEWEST} are not plotted. "
        f"Computed on {calibration['where']}.",
    )
