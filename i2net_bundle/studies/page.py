"""The results of a study as one self-contained HTML page, with a forest plot of differences and cost against score."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import i2net_bundle
from i2net_bundle.figures.style import REFERENCE, SERIES, Picture, label_log_axis, report_style, wrapped
from i2net_bundle.io.counted import counted
from i2net_bundle.reports.comparison import Column
from i2net_bundle.reports.markup import HTML
from i2net_bundle.reports.phantom_notice import phantom_notice
from i2net_bundle.studies.results import Key
from i2net_bundle.studies.study_tables import PAPER_PROTOCOL, StudyTables, notes, text_tables

_MOST_PANELS = 3


def page(tables: StudyTables) -> str:
    """The page as HTML."""
    plan = tables.results.plan
    counts = [counted(len(plan.arms), "arm"), counted(len(plan.seeds), "seed"), counted(tables.results.cases, "case")]
    on = f" of {tables.data_set}" if tables.data_set else ""
    loader = ChoiceLoader([PackageLoader("i2net_bundle.studies"), PackageLoader("i2net_bundle.reports")])
    with report_style(), mpl.rc_context({"svg.hashsalt": "study"}):
        drawn = [_embedded(picture) for picture in pictures(tables)]
    return (
        Environment(loader=loader, autoescape=True)
        .get_template("study.html.j2")
        .render(
            title=plan.title,
            facts=f"A study of {', '.join(counts)}{on}",
            notice=phantom_notice(tables.data_set, tables.data_set),
            pictures=drawn,
            tables=list(text_tables(tables, HTML)),
            notes=list(notes(tables)),
            version=i2net_bundle.__version__,
        )
    )


def pictures(tables: StudyTables) -> Iterator[Picture]:
    """Figures of a study: none without scores, no forest plot without differences."""
    if any(arm.differences for arm in tables.results.arms):
        yield forest_plot(tables)
    if any(arm.seeds for arm in tables.results.arms):
        yield cost_against_score(tables)


def forest_plot(tables: StudyTables) -> Picture:
    """Differences to the reference with their intervals: a row per arm, a panel per metric of the paper's protocol."""
    results = tables.results
    columns = _whole_columns(tables)[:_MOST_PANELS]
    arms = [arm for arm in results.arms if arm.differences]
    reference = next(arm.title for arm in results.arms if arm.name == results.plan.reference)
    figure = Figure(figsize=(5 * len(columns) + 1, 1.4 + 0.45 * len(arms)), layout="constrained")
    axes = list(figure.subplots(1, len(columns), squeeze=False, sharey=True).flat)
    color, _, marker = SERIES[0]
    for axis, (key, column) in zip(axes, columns, strict=True):
        axis.axvline(0, color=REFERENCE, linestyle=":", linewidth=1.2)
        for row, arm in enumerate(arms):
            difference = arm.differences[key]
            if difference.mean is None:
                continue
            if difference.interval:
                axis.plot(difference.interval, [row, row], color=color, linewidth=2)
            filled = color if difference.interval else "white"
            axis.plot(difference.mean, row, marker=marker, color=color, markerfacecolor=filled, linestyle="")
        better = {"higher": "right is better", "lower": "left is better"}.get(column.metric.better or "", "")
        axis.set_xlabel(f"{column.title}, difference" + (f" ({better})" if better else ""))
        axis.set_yticks(range(len(arms)), [wrapped(arm.title) for arm in arms])
        axis.set_ylim(len(arms) - 0.5, -0.5)
    return Picture(
        "forest",
        figure,
        f"Forest plot of the differences of {len(arms)} arms to {reference}; the tables below contain the numbers.",
        f"Difference to {reference}, paired by case: mean and 95 % bootstrap interval. Hollow points: too few cases or "
        "patients for an interval.",
    )


def cost_against_score(tables: StudyTables) -> Picture:
    """Score of every arm against its operations and its parameters."""
    key, column = _whole_columns(tables)[0]
    arms = [arm for arm in tables.results.arms if arm.seeds and np.isfinite(arm.means[key])]
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, label, values in (
        (left, "multiply-accumulates of one image (GMAC)", [tables.costs[arm.name].macs / 1e9 for arm in arms]),
        (right, "parameters (M)", [tables.costs[arm.name].parameters / 1e6 for arm in arms]),
    ):
        _scatter(axis, values, [arm.means[key] for arm in arms], [arm.title for arm in arms])
        axis.set_xlabel(label)
    left.set_ylabel(column.title)
    return Picture(
        "cost",
        figure,
        f"{column.title} of {len(arms)} arms against operations and parameters; the tables below contain the numbers.",
        f"{column.title} ({column.metric.protocol}) against the cost of the network, which is counted "
        "as the notes below say.",
    )


def _scatter(axis: Axes, x: list[float], y: list[float], names: list[str]) -> None:
    for number, (across, up, name) in enumerate(zip(x, y, names, strict=True)):
        color, _, marker = SERIES[number % len(SERIES)]
        axis.plot(across, up, marker=marker, color=color, linestyle="", markersize=8)
        axis.annotate(name, (across, up), xytext=(6, 4), textcoords="offset points", fontsize=8)
    if x and max(x) > 5 * min(x):
        axis.set_xscale("log")
        label_log_axis(axis.xaxis)
    axis.margins(x=0.2, y=0.15)


def _whole_columns(tables: StudyTables) -> list[tuple[Key, Column]]:
    """Columns of the paper's protocol, or of the first one, without those of single classes."""
    protocols = tables.results.protocols
    name = PAPER_PROTOCOL if PAPER_PROTOCOL in protocols else next(iter(protocols))
    return [((name, index), column) for index, column in enumerate(protocols[name]) if column.class_name is None]


def _embedded(picture: Picture) -> dict[str, str]:
    stream = io.BytesIO()
    picture.figure.savefig(stream, format="svg", metadata={"Date": None})
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return {"data": f"data:image/svg+xml;base64,{data}", "alt": picture.alt, "caption": picture.caption}
