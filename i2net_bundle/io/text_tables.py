"""Tables of cells as lines of text."""

from __future__ import annotations

from collections.abc import Sequence


def padded(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Cells padded to the width of their column: the first column to the left, the others to the right.

    Args:
        rows: the first is the longest.

    >>> padded([["a", "Dice"], ["liver", "0.9"]])
    [['a    ', 'Dice'], ['liver', ' 0.9']]
    """
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(len(rows[0]))]
    return [
        [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        for row in rows
    ]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table: the first column to the left, numbers to the right; the cells are escaped already."""
    marks = ["---", *("---:" for _ in header[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *rows)]
