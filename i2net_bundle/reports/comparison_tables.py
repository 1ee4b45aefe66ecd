"""A comparison as Markdown, LaTeX and CSV, in the layout of the paper's Tables 1 and 2.

A row per run; DSC and HD95, and where there are several classes the Dice of each. The best value is bold and of three
or more the second best underlined. Parameters and operations, which the paper's tables list too, are in no run's files.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2net_bundle.io.writing import staged_folder
from i2net_bundle.reports.comparison import FEWEST_PAIRS, Column, Comparison, Difference

_TITLES = {
    "transunet": "Protocol transunet: as TransUNet and the papers after it score, distances in voxels",
    "strict": "Protocol strict: MONAI's metrics, missed and invented classes penalised",
    "object": "Glands as objects, as the GlaS challenge scores",
}

_CSV_HEADER = (
    *("run", "protocol", "metric", "class", "unit", "mean", "reference"),
    *("difference", "ci95_low", "ci95_high", "p", "pairs", "tested", "undefined_in_one"),
)


@dataclass(frozen=True)
class _Markup:
    """How a format writes tables."""

    escape: Callable[[str], str]
    bold: str
    underlined: str
    percent: str
    minus: str


_MARKDOWN = _Markup(lambda text: _escaped(text, {c: f"\\{c}" for c in "\\|*_`<>[]"}), "**{}**", "<u>{}</u>", "%", "-")
_LATEX = _Markup(
    lambda text: _escaped(
        text,
        {c: f"\\{c}" for c in "&%$#_{}"}
        | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    ),
    r"\textbf{{{}}}",
    r"\underline{{{}}}",
    r"\%",
    "$-$",
)


def write_comparison(comparison: Comparison, out_dir: str | Path) -> Path:
    """Write ``comparison.md``, ``.tex`` and ``.csv``.

    Args:
        comparison: of runs.
        out_dir: folder, absent or empty.

    Returns:
        the folder.

    Raises:
        FileExistsError: it holds something.
    """
    with staged_folder(out_dir) as target:
        for ending, text in (("md", markdown), ("tex", latex), ("csv", csv_text)):
            (target / f"comparison.{ending}").write_text(text(comparison), encoding="utf-8", newline="")
    return Path(out_dir)


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown."""
    lines = []
    for protocol, columns in comparison.protocols.items():
        lines += [f"## {_TITLES[protocol]}", ""]
        header = ["Method", *(_MARKDOWN.escape(column.title) for column in columns)]
        lines += _markdown_table(header, _mean_rows(comparison, protocol, _MARKDOWN))
        for number, name in enumerate(comparison.names[1:]):
            escaped = [_MARKDOWN.escape(part) for part in (name, comparison.names[0])]
            lines += ["", f"{escaped[0]} minus {escaped[1]}:", ""]
            header = ["score", "difference", "95 % interval", "p", "pairs"]
            lines += _markdown_table(header, _difference_rows(comparison, protocol, number, _MARKDOWN))
        lines.append("")
    return "\n".join([*lines, *(f"- {note}" for note in notes(comparison))]) + "\n"


def latex(comparison: Comparison) -> str:
    """The comparison as LaTeX tables, for the package booktabs."""
    lines = ["% needs \\usepackage{booktabs}"]
    lines += [f"% {note}" for note in notes(comparison)]
    for protocol, columns in comparison.protocols.items():
        header = ["Method", *(_LATEX.escape(column.title) for column in columns)]
        second = ", the second best underlined" if len(comparison.names) > 2 else ""
        caption = f"{_TITLES[protocol]}. The best results are in bold{second}."
        lines += _latex_table(caption, header, _mean_rows(comparison, protocol, _LATEX))
        for number, name in enumerate(comparison.names[1:]):
            header = ["Score", "Difference", r"95\,\% interval", "$p$", "Pairs"]
            caption = f"{name} minus {comparison.names[0]}, {protocol}: paired differences."
            lines += _latex_table(caption, header, _difference_rows(comparison, protocol, number, _LATEX))
    return "\n".join(lines) + "\n"


def csv_text(comparison: Comparison) -> str:
    """The comparison as CSV: a row per run, protocol and score."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(_CSV_HEADER)
    for number, name in enumerate(comparison.names):
        for protocol, columns in comparison.protocols.items():
            for index, column in enumerate(columns):
                mean = comparison.means[number][protocol, index]
                row = [name, protocol, column.metric, column.class_name or "mean", column.unit, _plain(mean)]
                if number:
                    row += [comparison.names[0], *_cells(comparison.differences[number - 1][protocol, index])]
                writer.writerow(row + [""] * (len(_CSV_HEADER) - len(row)))
    return file.getvalue()


def notes(comparison: Comparison) -> Iterator[str]:
    """What to know when reading the numbers."""
    yield f"{len(comparison.cases)} cases in all runs." + (
        f" Left out, for not all runs have them: {', '.join(comparison.left_out)}." if comparison.left_out else ""
    )
    yield (
        f"Intervals: 95 % bootstrap of the mean difference, resampling {comparison.resampled}. p: Wilcoxon's "
        f"signed-rank test of {comparison.resampled}, two-sided, not corrected for the number of comparisons."
    )
    every = [difference for run in comparison.differences for difference in run.values()]
    few = [difference for difference in every if difference.pairs and difference.tested < FEWEST_PAIRS]
    if few:
        yield (
            f"{len(few)} of {len(every)} tests rank fewer than {FEWEST_PAIRS} {comparison.resampled} that differ: they "
            "cannot reach p < 0.05, whatever the difference."
        )
    undefined = sum(difference.undefined for difference in every)
    if undefined:
        yield (
            f"{undefined} pairs are left out, as the score is defined in one run alone: a class absent from truth and "
            "prediction there, and invented in the other."
        )


def _mean_rows(comparison: Comparison, protocol: str, markup: _Markup) -> list[list[str]]:
    columns = comparison.protocols[protocol]
    rows = [[markup.escape(name)] for name in comparison.names]
    for index, column in enumerate(columns):
        values = [means[protocol, index] for means in comparison.means]
        for row, text in zip(rows, _ranked(column, values, markup), strict=True):
            row.append(text)
    return rows


def _ranked(column: Column, values: Sequence[float], markup: _Markup) -> list[str]:
    """Values to two digits, the best bold and of three or more the second best underlined, equal ones alike."""
    texts = ["-" if np.isnan(value) else f"{value:.2f}" for value in values]
    order = sorted({float(text) for text in texts if text != "-"}, reverse=not column.lower_is_better)
    marks = (markup.bold, markup.underlined) if len(values) > 2 else (markup.bold,)
    styles = dict(zip(order, marks, strict=False)) if len(order) > 1 else {}
    return [text if text == "-" else styles.get(float(text), "{}").format(text) for text in texts]


def _difference_rows(comparison: Comparison, protocol: str, number: int, markup: _Markup) -> list[list[str]]:
    rows = []
    for index, column in enumerate(comparison.protocols[protocol]):
        difference = comparison.differences[number][protocol, index]
        unit = markup.percent if column.unit == "%" else column.unit
        name = markup.escape(column.name) + (f" ({unit})" if column.class_name is None else "")
        if difference.mean is None:
            rows.append([name, "-", "-", "-", "0"])
            continue
        signed = [
            f"{value:+.2f}".replace("-", markup.minus) for value in (difference.mean, *(difference.interval or ()))
        ]
        interval = f"{signed[1]} to {signed[2]}" if difference.interval else "-"
        rows.append([name, signed[0], interval, p_value(difference.p), str(difference.pairs)])
    return rows


def p_value(p: float | None) -> str:
    """A p-value to three digits behind the point.

    >>> p_value(0.0312), p_value(2e-5)
    ('0.031', '< 0.001')
    """
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    marks = ["---", *("---:" for _ in header[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *rows)]


def _latex_table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    body = [f"{' & '.join(cells)} \\\\" for cells in rows]
    return [
        "",
        r"\begin{table}[t]",
        r"\centering",
        f"\\caption{{{_LATEX.escape(caption)}}}",
        f"\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"\toprule",
        f"{' & '.join(header)} \\\\",
        r"\midrule",
        *(line.replace("< ", "$<$ ") for line in body),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _cells(difference: Difference) -> list[str]:
    low, high = difference.interval or (float("nan"), float("nan"))
    numbers = [difference.mean, low, high, difference.p]
    counts = [difference.pairs, difference.tested, difference.undefined]
    return [*(_plain(value) for value in numbers), *map(str, counts)]


def _plain(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.6g}"


def _escaped(text: str, characters: dict[str, str]) -> str:
    return "".join(characters.get(character, character) for character in text)
