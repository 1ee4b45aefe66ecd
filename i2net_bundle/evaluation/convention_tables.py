"""The distances under every convention as ``conventions.csv`` and ``conventions.md``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from i2net_bundle.evaluation.convention_scores import (
    BATCH_SIZE,
    LENGTHS,
    NATIVE,
    PIXELS,
    SIZES,
    ConventionScores,
)
from i2net_bundle.io.counted import counted
from i2net_bundle.io.text_tables import markdown_table, padded
from i2net_bundle.io.writing import write_rows, written_whole
from i2net_bundle.metrics.conventions import CONVENTIONS, Convention

CSV_NAME, MARKDOWN_NAME = "conventions.csv", "conventions.md"
_DIGITS = 10


def write_conventions(output_dir: Path, scores: ConventionScores | None) -> None:
    """Write both tables.

    Args:
        output_dir: folder of the tables; created if missing.
        scores: result of `score_conventions`; None deletes the tables of an evaluation that is replaced.
    """
    if scores is None:
        for name in (CSV_NAME, MARKDOWN_NAME):
            (output_dir / name).unlink(missing_ok=True)
        return
    write_rows(output_dir / CSV_NAME, list(csv_rows(scores)))
    with written_whole(output_dir / MARKDOWN_NAME) as temporary:
        temporary.write_text(markdown(scores), encoding="utf-8")


def csv_rows(scores: ConventionScores) -> Iterator[dict[str, str]]:
    """One row per convention, size and unit; an undefined distance is empty."""
    for key, value in scores.values.items():
        name, size, kind = key
        convention = CONVENTIONS[name]
        yield {
            "convention": name,
            "size": size,
            "unit": _unit(scores, kind),
            "distance": "" if math.isnan(value) else f"{value:.{_DIGITS}g}",
            "scope": convention.scope,
            "n": str(scores.counts[key]),
            "rule": convention.rule,
            "source": convention.source,
        }


def markdown(scores: ConventionScores) -> str:
    """The distances as a Markdown table, a row per convention and a column per size and unit, and the rules.

    Args:
        scores: result of `score_conventions`.
    """
    shown = [
        convention for convention in CONVENTIONS.values() if any(key[0] == convention.name for key in scores.values)
    ]
    columns = [
        (size, kind)
        for size in SIZES
        for kind in (PIXELS, LENGTHS)
        if any(key[1:] == (size, kind) for key in scores.values)
    ]
    header = ["convention", *(f"{size}, {_unit(scores, kind)}" for size, kind in columns), "n"]
    rows = [_row(scores, convention, columns) for convention in shown]
    header, *rows = padded([header, *rows])
    lines = [
        "# HD95 under every convention",
        "",
        f"{counted(scores.cases, 'case')}, mean Dice {scores.dice:.4f}. All rows score the same masks.",
        "",
        *markdown_table(header, rows),
        "",
        *_notes(scores),
        "",
        *(f"- `{convention.name}`: {convention.rule}. Found in: {convention.source}." for convention in shown),
    ]
    return "\n".join(lines) + "\n"


def _row(scores: ConventionScores, convention: Convention, columns: list[tuple[str, str]]) -> list[str]:
    values = [scores.values.get((convention.name, *column), math.nan) for column in columns]
    counts = {count for key, count in scores.counts.items() if key[0] == convention.name}
    cells = ["-" if math.isnan(value) else f"{value:.2f}" for value in values]
    return [convention.name, *cells, str(max(counts))]


def _notes(scores: ConventionScores) -> Iterator[str]:
    grid = _unit(scores, PIXELS)
    resized = "" if scores.volumes else " or resized by nearest neighbours,"
    yield f"- Columns: the size at which masks are scored, `{NATIVE}`{resized} and the unit."
    if scores.unit is None:
        yield f"- The size of a pixel or voxel is unknown, so all distances are in {grid}."
    elif scores.volumes:
        yield f"- Distances in {scores.unit} use the size of the voxels."
    else:
        yield f"- Distances in {scores.unit} use the size of the pixels, resized ones too. A stack of images has none."
    made_of = "volumes or slices" if scores.volumes else f"images, or batches of up to {BATCH_SIZE} in their order"
    yield f"- n: the number of {made_of} with a distance."
    if scores.one_empty or scores.both_empty:
        one = counted(scores.one_empty, "class", "classes")
        yield f"- Empty masks, over all cases: {one} in one of the two masks only, {scores.both_empty} in neither."
    else:
        where = ", except in slices" if scores.volumes else ""
        yield f"- No mask is empty, so the rules for empty masks change nothing{where}."


def _unit(scores: ConventionScores, kind: str) -> str:
    if kind == PIXELS:
        return "voxels" if scores.volumes else "px"
    assert scores.unit is not None
    return scores.unit
