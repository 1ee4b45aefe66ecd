"""Tables of scores as Markdown, LaTeX, HTML and CSV text."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from i2net_bundle.reports.comparison import Column


@dataclass(frozen=True)
class Markup:
    """How a format marks up text."""

    escape: Callable[[str], str]
    bold: str
    underlined: str
    minus: str


MARKDOWN = Markup(lambda text: _escaped(text, {c: f"\\{c}" for c in "\\|*_`<>[]"}), "**{}**", "<u>{}</u>", "-")
LATEX = Markup(
    lambda text: _escaped(
        text,
        {c: f"\\{c}" for c in "&%$#_{}"}
        | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    ),
    r"\textbf{{{}}}",
    r"\underline{{{}}}",
    "$-$",
)
HTML = Markup(html.escape, "<strong>{}</strong>", "<u>{}</u>", "−")


def ranked(column: Column, values: Sequence[float], markup: Markup) -> list[str]:
    """Values as printed, the best bold and, of three or more, the second best underlined; ties are marked alike."""
    texts = ["-" if np.isnan(value) else f"{value:.{column.decimals}f}" for value in values]
    if column.metric.better is None:
        return texts
    order = sorted({float(text) for text in texts if text != "-"}, reverse=column.metric.better == "higher")
    marks = (markup.bold, markup.underlined) if len(values) > 2 else (markup.bold,)
    styles = dict(zip(order, marks, strict=False)) if len(order) > 1 else {}
    return [text if text == "-" else styles.get(float(text), "{}").format(text) for text in texts]


def p_value(p: float | None) -> str:
    """A p-value to three decimals.

    >>> p_value(0.0312), p_value(2e-5)
    ('0.031', '< 0.001')
    """
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def latex_table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a LaTeX table, whose cells are escaped; it needs the package booktabs."""
    body = [f"{' & '.join(cells)} \\\\" for cells in rows]
    return [
        "",
        r"\begin{table}[t]",
        r"\centering",
        f"\\caption{{{LATEX.escape(caption)}}}",
        f"\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"\toprule",
        f"{' & '.join(header)} \\\\",
        r"\midrule",
        *(line.replace("< ", "$<$ ") for line in body),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def plain(value: float | None) -> str:
    """A number in a CSV file; empty if it is undefined."""
    return "" if value is None or np.isnan(value) else f"{value:.6g}"


def _escaped(text: str, characters: dict[str, str]) -> str:
    return "".join(characters.get(character, character) for character in text)
