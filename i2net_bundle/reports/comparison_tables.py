"""A comparison as Markdown, LaTeX and CSV, in the layout of the paper's Tables 1 and 2.

One row per run: the metrics of a protocol, then Dice of each class. The best value is bold; of three or more runs, the
second best is underlined. The paper's tables also list parameters and operations, which a run does not record.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from i2net_bundle.io.counted import counted
from i2net_bundle.io.text_tables import markdown_table
from i2net_bundle.io.writing import SafeCsvWriter, staged_folder
from i2net_bundle.metrics.registry import PROTOCOLS
from i2net_bundle.metrics.uncertainty import FEWEST
from i2net_bundle.reports.comparison import FEWEST_PAIRS, Comparison, Difference
from i2net_bundle.reports.markup import LATEX, MARKDOWN, Markup, latex_table, p_value, plain, ranked

_MOST_CLASSES = 10
"""More classes than this get a table of their own with one row per class, because a wider table fits no page."""
_CSV_HEADER = (
    *("run", "protocol", "metric", "class", "unit", "mean", "reference"),
    *("difference", "ci95_low", "ci95_high", "p", "pairs", "tested", "undefined_in_one"),
)


def write_comparison(comparison: Comparison, out_dir: str | Path) -> Path:
    """Write ``comparison.md``, ``.tex`` and ``.csv``.

    Args:
        comparison: result of `compare_runs`.
        out_dir: folder to write; must be missing or empty.

    Returns:
        the folder.

    Raises:
        FileExistsError: the folder is not empty.
    """
    with staged_folder(out_dir) as target:
        for ending, text in (("md", markdown), ("tex", latex), ("csv", csv_text)):
            (target / f"comparison.{ending}").write_text(text(comparison), encoding="utf-8", newline="")
    return Path(out_dir)


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown."""
    lines = []
    for protocol in comparison.protocols:
        lines += [f"## {PROTOCOLS[protocol].title}"]
        for header, rows in _mean_tables(comparison, protocol, MARKDOWN):
            lines += ["", *markdown_table(header, rows)]
        for number, name in enumerate(comparison.names[1:]):
            escaped = [MARKDOWN.escape(part) for part in (name, comparison.names[0])]
            lines += ["", f"{escaped[0]} minus {escaped[1]}:", ""]
            header = ["metric", "difference", "95 % interval", "p", "pairs"]
            lines += markdown_table(header, _difference_rows(comparison, protocol, number, MARKDOWN))
        lines.append("")
    return "\n".join([*lines, *(f"- {note}" for note in notes(comparison))]) + "\n"


def latex(comparison: Comparison) -> str:
    """The comparison as LaTeX tables; they need the package booktabs."""
    lines = ["% needs \\usepackage{booktabs}"]
    lines += [f"% {note}" for note in notes(comparison)]
    for protocol in comparison.protocols:
        second = ", the second best underlined" if len(comparison.names) > 2 else ""
        caption = f"{PROTOCOLS[protocol].title}. The best results are in bold{second}."
        for header, rows in _mean_tables(comparison, protocol, LATEX):
            lines += latex_table(caption, header, rows)
        for number, name in enumerate(comparison.names[1:]):
            header = ["Metric", "Difference", r"95\,\% interval", "$p$", "Pairs"]
            caption = f"{name} minus {comparison.names[0]}, {protocol}: paired differences."
            lines += latex_table(caption, header, _difference_rows(comparison, protocol, number, LATEX))
    return "\n".join(lines) + "\n"


def csv_text(comparison: Comparison) -> str:
    """The comparison as CSV: one row per run, protocol and column."""
    file = io.StringIO()
    writer = SafeCsvWriter(file)
    writer.writerow(_CSV_HEADER)
    for number, name in enumerate(comparison.names):
        for protocol, columns in comparison.protocols.items():
            for index, column in enumerate(columns):
                mean = comparison.means[number][protocol, index]
                row = [name, protocol, column.metric.name, column.class_name or "mean", column.unit, plain(mean)]
                if number:
                    row += [comparison.names[0], *_cells(comparison.differences[number - 1][protocol, index])]
                writer.writerow(row + [""] * (len(_CSV_HEADER) - len(row)))
    return file.getvalue()


def notes(comparison: Comparison) -> Iterator[str]:
    """Remarks on how to read the numbers."""
    yield f"{counted(len(comparison.cases), 'case')} in all runs." + (
        f" Left out, because some run lacks them: {', '.join(comparison.left_out)}." if comparison.left_out else ""
    )
    if comparison.metrics_left_out:
        yield f"Metrics left out, because some run lacks them: {', '.join(comparison.metrics_left_out)}."
    yield (
        f"Intervals: 95 % bootstrap of the mean difference, resampling {comparison.resampled}. p: Wilcoxon's "
        f"signed-rank test of {comparison.resampled}, two-sided, not corrected for multiple comparisons."
    )
    every = [difference for run in comparison.differences for difference in run.values()]
    without = [difference for difference in every if difference.pairs and difference.interval is None]
    if without:
        yield (
            f"Differences without an interval: {len(without)} of {len(every)}. An interval needs at least {FEWEST} "
            f"{comparison.resampled}."
        )
    few = [difference for difference in every if difference.pairs and difference.tested < FEWEST_PAIRS]
    if few:
        yield (
            f"Tests of fewer than {FEWEST_PAIRS} {comparison.resampled} with a difference: {len(few)} of {len(every)}. "
            "Their p cannot fall below 0.05, however large the difference."
        )
    undefined = sum(difference.undefined for difference in every)
    if undefined:
        yield (
            f"Left out: {counted(undefined, 'pair')} whose metric is defined in one run only. That run invents the "
            "class; in the other run it is in neither mask."
        )


def _mean_tables(comparison: Comparison, protocol: str, markup: Markup) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Header and rows of a protocol's means: one row per run, and one row per class in a second table if need be."""
    runs = [markup.escape(name) for name in comparison.names]
    of_metrics: list[list[str]] = []
    of_classes: list[list[str]] = []
    for index, column in enumerate(comparison.protocols[protocol]):
        means = [run[protocol, index] for run in comparison.means]
        cells = [markup.escape(column.title), *ranked(column, means, markup)]
        (of_classes if column.class_name else of_metrics).append(cells)
    if len(of_classes) <= _MOST_CLASSES:
        of_metrics, of_classes = of_metrics + of_classes, []
    header, *rows = map(list, zip(["Method", *runs], *of_metrics, strict=True))
    yield header, rows
    if of_classes:
        yield [markup.escape("Dice (%)"), *runs], of_classes


def _difference_rows(comparison: Comparison, protocol: str, number: int, markup: Markup) -> list[list[str]]:
    rows = []
    for index, column in enumerate(comparison.protocols[protocol]):
        difference = comparison.differences[number][protocol, index]
        name = markup.escape(column.title)
        if difference.mean is None:
            rows.append([name, "-", "-", "-", "0"])
            continue
        signed = [
            f"{value:+.{column.decimals}f}".replace("-", markup.minus)
            for value in (difference.mean, *(difference.interval or ()))
        ]
        interval = f"{signed[1]} to {signed[2]}" if difference.interval else "none"
        rows.append([name, signed[0], interval, p_value(difference.p), str(difference.pairs)])
    return rows


def _cells(difference: Difference) -> list[str]:
    low, high = difference.interval or (float("nan"), float("nan"))
    numbers = [difference.mean, low, high, difference.p]
    counts = [difference.pairs, difference.tested, difference.undefined]
    return [*(plain(value) for value in numbers), *map(str, counts)]
