"""The tables of a study as Markdown, LaTeX and CSV, in the layout of the paper's Tables 1 to 3.

One row per arm: parameters and operations, then the metrics of each protocol and Dice of each class, with published
figures beside them. Published figures are marked, and marked once more where they cannot be compared.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2net_bundle.io.counted import counted
from i2net_bundle.io.text_tables import markdown_table
from i2net_bundle.io.writing import SafeCsvWriter, written_whole
from i2net_bundle.metrics.registry import PROTOCOLS
from i2net_bundle.metrics.uncertainty import FEWEST
from i2net_bundle.reports.comparison import Column
from i2net_bundle.reports.markup import LATEX, MARKDOWN, Markup, latex_table, p_value, plain, ranked
from i2net_bundle.reports.phantom_notice import phantom_notice
from i2net_bundle.studies.costs import Cost
from i2net_bundle.studies.published import PublishedRow, PublishedTable
from i2net_bundle.studies.results import ArmResults, StudyResults

PAPER_PROTOCOL = "transunet"
"""Protocol whose metrics stand beside the published ones."""
_CSV_HEADER = (
    *("arm", "protocol", "metric", "class", "unit", "cases", "seeds", "mean", "sd_over_seeds"),
    *("reference", "difference", "ci95_low", "ci95_high", "p_holm", "pairs", "published", "published_comparable"),
)
_COST_HEADER = (
    *("arm", "parameters", "published_parameters_m", "macs", "published_gmac", "image"),
    *("training_step_s", "prediction_s"),
)


@dataclass(frozen=True)
class StudyTables:
    """What the tables of a study show.

    Attributes:
        results: scores.
        costs: parameters and operations by arm.
        steps: seconds of a training step by arm, where known.
        predictions: seconds of a prediction by arm, where measured.
        published: published figures, if the study names any.
        data_set: name of the data set, if it has one.
    """

    results: StudyResults
    costs: Mapping[str, Cost]
    steps: Mapping[str, float]
    predictions: Mapping[str, float]
    published: PublishedTable | None
    data_set: str | None = None

    @property
    def comparable(self) -> bool:
        """Whether the published figures were measured on the same data by the same rules."""
        return self.results.plan.published is not None and self.results.plan.published.comparable

    @property
    def mark(self) -> str:
        """Mark of published figures that cannot be compared."""
        return "" if self.comparable else "†"

    def published_row(self, arm: str) -> PublishedRow | None:
        """Published figures of an arm; None without any."""
        return None if self.published is None else self.published.rows.get(arm)


@dataclass(frozen=True)
class TextTable:
    """A table as text.

    Attributes:
        caption: what it shows.
        header: names of its columns.
        rows: its rows, in the markup of the format.
    """

    caption: str
    header: list[str]
    rows: list[list[str]]


def write_tables(tables: StudyTables, folder: Path) -> Path:
    """Write ``study.md``, ``study.tex``, ``scores.csv`` and ``costs.csv``; earlier ones are replaced.

    Returns:
        the folder.
    """
    texts = {
        "study.md": markdown(tables),
        "study.tex": latex(tables),
        "scores.csv": scores_csv(tables),
        "costs.csv": costs_csv(tables),
    }
    for name, text in texts.items():
        with written_whole(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return folder


def markdown(tables: StudyTables) -> str:
    """The tables as Markdown."""
    lines = [f"# {MARKDOWN.escape(tables.results.plan.title)}", ""]
    notice = phantom_notice(tables.data_set, tables.data_set)
    lines += [f"**{notice}**", ""] if notice else []
    for table in text_tables(tables, MARKDOWN):
        lines += [f"## {MARKDOWN.escape(table.caption)}", "", *markdown_table(table.header, table.rows), ""]
    return "\n".join([*lines, *(f"- {note}" for note in notes(tables))]) + "\n"


def latex(tables: StudyTables) -> str:
    """The tables as LaTeX; they need the package booktabs."""
    lines = ["% needs \\usepackage{booktabs}"]
    lines += [f"% {note}" for note in notes(tables)]
    for table in text_tables(tables, LATEX):
        lines += latex_table(f"{tables.results.plan.title}: {table.caption}", table.header, table.rows)
    return "\n".join(lines).replace("†", r"$^\dagger$").replace("±", r"$\pm$") + "\n"


def text_tables(tables: StudyTables, markup: Markup) -> Iterator[TextTable]:
    """All tables in a markup: costs; for every protocol the scores and the differences to the reference; and mIoU."""
    yield _costs(tables, markup)
    for protocol, columns in tables.results.protocols.items():
        yield _scores(tables, protocol, columns, markup)
        if any(arm.differences for arm in tables.results.arms):
            yield _differences(tables, protocol, columns, markup)
    if any(arm.mean_ious for arm in tables.results.arms):
        yield _mean_iou(tables, markup)
    if tables.published is not None and tables.published.classes:
        yield _published_classes(tables, tables.published, markup)


def notes(tables: StudyTables) -> Iterator[str]:
    """Remarks on how to read the numbers."""
    results = tables.results
    unfinished = [arm for arm in results.arms if arm.finished < arm.cells]
    if unfinished:
        counts = ", ".join(f"{arm.title} {arm.finished} of {arm.cells}" for arm in unfinished)
        yield f"Unfinished: {counts} cells. An arm is scored when all folds of a seed are finished."
    yield (
        f"{counted(results.cases, 'case')}, each scored by the last checkpoint of a network that was not trained on "
        "it. n is the number of cases with a value. Scores are means over cases of each case's mean over seeds; ± is "
        "the standard deviation over seeds of the mean over cases."
    )
    if any(arm.differences for arm in results.arms):
        reference = next(arm.title for arm in results.arms if arm.name == results.plan.reference)
        yield (
            f"Differences are to {reference}, paired by case, with the 95 % bootstrap interval resampling "
            f"{results.resampled}. p: Wilcoxon's signed-rank test of {results.resampled}, two-sided, corrected by "
            f"Holm's method over the arms of a column. With fewer than {FEWEST} {results.resampled} there is neither. "
            "Neither covers the variation over seeds."
        )
    yield (
        "Parameters and multiply-accumulates are counted as in the paper's Table 1, on one image of "
        f"{_image(next(iter(tables.costs.values())))}. A training step is the median over epochs, measured while the "
        "study ran. A prediction is the forward pass of that image, measured in alternation."
    )
    if tables.published is not None:
        not_ours = "" if tables.comparable else " † Not comparable: the study scores other images, or by other rules."
        yield f"Published figures are from the paper's {tables.published.title}, on {tables.published.data}.{not_ours}"
        for arm in results.arms:
            row = tables.published_row(arm.name)
            if row is not None and row.note:
                yield f"{arm.title}: {row.note}"


def scores_csv(tables: StudyTables) -> str:
    """All scores and differences as CSV: one row per arm, protocol and column."""
    file = io.StringIO()
    writer = SafeCsvWriter(file)
    writer.writerow(_CSV_HEADER)
    for arm in tables.results.arms:
        for protocol, columns in tables.results.protocols.items():
            for index, column in enumerate(columns):
                if arm.seeds:
                    writer.writerow(_csv_row(tables, arm, protocol, index, column))
    return file.getvalue()


def costs_csv(tables: StudyTables) -> str:
    """Parameters, operations and times as CSV: one row per arm."""
    file = io.StringIO()
    writer = SafeCsvWriter(file)
    writer.writerow(_COST_HEADER)
    for name, cost in tables.costs.items():
        row = tables.published_row(name) or PublishedRow(name)
        times = (tables.steps.get(name), tables.predictions.get(name))
        published = (plain(row.parameters), plain(row.gmac))
        writer.writerow(
            [
                name,
                cost.parameters,
                published[0],
                cost.macs,
                published[1],
                _image(cost),
                *(plain(time) for time in times),
            ]
        )
    return file.getvalue()


def published_value(tables: StudyTables, arm: str, column: Column) -> float | None:
    """The published figure that belongs to a column, in its unit; None without one."""
    row, table = tables.published_row(arm), tables.published
    if row is None or table is None or column.metric.protocol != PAPER_PROTOCOL:
        return None
    if column.class_name is not None:
        known = dict(zip(table.classes, row.class_dsc, strict=False))
        return known.get(column.class_name)
    return {"transunet_dice": row.dsc, "transunet_hd95": row.hd95}.get(column.metric.name)


def _costs(tables: StudyTables, markup: Markup) -> TextTable:
    header = ["Method", "Parameters (M)", "GMAC", "training step (s)", "prediction (s)"]
    shown = tables.published is not None and any(row.parameters is not None for row in tables.published.rows.values())
    if shown:
        header[3:3] = ["published (M)", "published GMAC"]
    rows = []
    for arm in tables.results.arms:
        cost, row = tables.costs[arm.name], tables.published_row(arm.name) or PublishedRow(arm.title)
        cells = [markup.escape(arm.title), f"{cost.parameters / 1e6:.2f}", f"{cost.macs / 1e9:.2f}"]
        if shown:
            cells += [_number(row.parameters, 2), _number(row.gmac, 2) + ("*" if row.note and row.gmac else "")]
        times = (tables.steps.get(arm.name), tables.predictions.get(arm.name))
        rows.append([*cells, *(_number(time, 3) for time in times)])
    return TextTable("Parameters, operations and times", header, rows)


def _scores(tables: StudyTables, protocol: str, columns: Sequence[Column], markup: Markup) -> TextTable:
    arms = tables.results.arms
    header = ["Method", "n", "seeds", *(markup.escape(column.title) for column in columns)]
    cells = [[markup.escape(arm.title), _count(arm, protocol, columns), str(len(arm.seeds))] for arm in arms]
    for index, column in enumerate(columns):
        means = [arm.means.get((protocol, index), float("nan")) for arm in arms]
        for arm, own, text in zip(arms, cells, ranked(column, means, markup), strict=True):
            deviation = arm.deviations.get((protocol, index))
            own.append(text if deviation is None else f"{text} ± {deviation:.{column.decimals}f}")
    for column in columns:
        values = [published_value(tables, arm.name, column) for arm in arms]
        if column.class_name is None and any(value is not None for value in values):
            name = "DSC (%)" if column.unit == "%" else "HD95 (mm)"
            header.append(f"published {markup.escape(name)}")
            for own, value in zip(cells, values, strict=True):
                own.append("-" if value is None else f"{value:.2f}{tables.mark}")
    return TextTable(PROTOCOLS[protocol].title, header, cells)


def _count(arm: ArmResults, protocol: str, columns: Sequence[Column]) -> str:
    """Number of cases with a value; a range where columns differ."""
    counts = [arm.counts.get((protocol, index), 0) for index, column in enumerate(columns) if not column.class_name]
    low, high = min(counts, default=0), max(counts, default=0)
    return str(high) if low == high else f"{low} to {high}"


def _differences(tables: StudyTables, protocol: str, columns: Sequence[Column], markup: Markup) -> TextTable:
    reference = next(arm.title for arm in tables.results.arms if arm.name == tables.results.plan.reference)
    whole = [(index, column) for index, column in enumerate(columns) if column.class_name is None]
    header = ["Method"]
    for _, column in whole:
        header += [markup.escape(column.title), "95 % interval".replace("%", markup.escape("%")), "p", "n"]
    rows = []
    for arm in tables.results.arms:
        if not arm.differences:
            continue
        cells = [markup.escape(arm.title)]
        for index, column in whole:
            difference = arm.differences[protocol, index]
            if difference.mean is None:
                cells += ["-", "-", "-", "0"]
                continue
            bounds = [_signed(value, column, markup) for value in difference.interval or ()]
            interval = f"{bounds[0]} to {bounds[1]}" if bounds else "none"
            cells += [_signed(difference.mean, column, markup), interval, p_value(difference.p), str(difference.pairs)]
        rows.append(cells)
    return TextTable(f"Difference to {reference}, {protocol}", header, rows)


def _mean_iou(tables: StudyTables, markup: Markup) -> TextTable:
    rows = []
    for arm in tables.results.arms:
        values = np.array(arm.mean_ious)
        mean = f"{values.mean():.3f}" if len(values) else "-"
        deviation = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
        rows.append([markup.escape(arm.title), str(len(values)), mean + deviation])
    return TextTable(
        "mIoU of all images of a run together, mean and deviation over runs", ["Method", "runs", "mIoU"], rows
    )


def _published_classes(tables: StudyTables, published: PublishedTable, markup: Markup) -> TextTable:
    header = ["Method", *(f"{markup.escape(name)}" for name in published.classes)]
    rows = [
        [markup.escape(arm.title), *(f"{value:.2f}{tables.mark}" for value in row.class_dsc)]
        for arm in tables.results.arms
        if (row := tables.published_row(arm.name)) is not None and row.class_dsc
    ]
    return TextTable(f"Published Dice (%) by class, {published.title}", header, rows)


def _csv_row(tables: StudyTables, arm: ArmResults, protocol: str, index: int, column: Column) -> list[str]:
    key = (protocol, index)
    row = [arm.name, protocol, column.metric.name, column.class_name or "mean", column.unit, str(arm.counts[key])]
    row += [str(len(arm.seeds)), plain(arm.means[key]), plain(arm.deviations[key])]
    difference = arm.differences.get(key)
    if difference is None:
        row += [""] * 6
    else:
        low, high = difference.interval or (None, None)
        row += [str(tables.results.plan.reference), *map(plain, (difference.mean, low, high, difference.p))]
        row += [str(difference.pairs)]
    published = published_value(tables, arm.name, column)
    return [*row, plain(published), "" if published is None else str(tables.comparable).lower()]


def _signed(value: float, column: Column, markup: Markup) -> str:
    return f"{value:+.{column.decimals}f}".replace("-", markup.minus)


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _image(cost: Cost) -> str:
    return "x".join(map(str, cost.shape[1:]))
