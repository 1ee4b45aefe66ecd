"""The tables of a study: what they print, and what they mark."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from i2net_bundle.reports.markup import MARKDOWN
from i2net_bundle.studies.study_tables import (
    StudyTables,
    costs_csv,
    latex,
    markdown,
    scores_csv,
    text_tables,
    write_tables,
)
from tests.studies.tables import make_tables


def cells_of(tables: StudyTables, caption: str) -> list[list[str]]:
    table = next(table for table in text_tables(tables, MARKDOWN) if table.caption.startswith(caption))
    return [table.header, *table.rows]


def test_costs_stand_beside_the_published_ones_and_open_rows_are_marked(tmp_path: Path) -> None:
    header, i2net, carafe, mine = cells_of(make_tables(tmp_path), "Parameters")
    assert header == [
        *("Method", "Parameters (M)", "GMAC", "published (M)", "published GMAC"),
        *("training step (s)", "prediction (s)"),
    ]
    assert i2net == ["Net i2net", "11.40", "12.30", "11.40", "12.30", "1.500", "0.250"]
    assert carafe[3:5] == ["13.81", "24.25*"]
    assert mine[3:] == ["-", "-", "-", "-"]


def test_scores_have_n_seeds_deviation_and_published_figures(tmp_path: Path) -> None:
    header, i2net, _, mine = cells_of(make_tables(tmp_path), "Protocol transunet")
    assert header == ["Method", "n", "seeds", "Dice (%)", "HD95 (px)", "published DSC (%)", "published HD95 (mm)"]
    # 0.6 ... 0.67: 63.5 %, and 0.25 for the mean of the seeds 0 and 0.5
    assert i2net == ["Net i2net", "8", "2", "63.75 ± 0.35", "**6.38** ± 0.04", "93.91†", "4.18†"]
    assert mine[3:] == ["**67.75** ± 0.35", "6.78 ± 0.04", "-", "-"]


def test_published_figures_on_the_same_data_are_not_marked(tmp_path: Path) -> None:
    tables = make_tables(tmp_path, comparable=True)
    assert cells_of(tables, "Protocol transunet")[1][5] == "93.91"
    assert "Not comparable" not in markdown(tables)


def test_differences_have_an_interval_p_and_the_number_of_pairs(tmp_path: Path) -> None:
    rows = cells_of(make_tables(tmp_path), "Difference to Net i2net, transunet")
    assert [row[0] for row in rows] == ["Method", "Net carafe", "Net mine"]
    assert rows[2][1:5] == ["+4.00", "+4.00 to +4.00", "0.016", "8"]  # 2 / 2^8, twice


def test_with_few_cases_neither_interval_nor_p_is_printed(tmp_path: Path) -> None:
    tables = make_tables(tmp_path, cases=4)
    assert cells_of(tables, "Difference")[1][1:5] == ["+2.00", "none", "-", "4"]
    rows = list(csv.DictReader(io.StringIO(scores_csv(tables))))
    assert {(row["ci95_low"], row["ci95_high"], row["p_holm"]) for row in rows} == {("", "", "")}


def test_an_unfinished_arm_keeps_its_row_and_is_named(tmp_path: Path) -> None:
    tables = make_tables(tmp_path, missing="mine/fold_1")
    assert cells_of(tables, "Protocol transunet")[3] == ["Net mine", "0", "0", "-", "-", "-", "-"]
    assert "Unfinished: Net mine 2 of 4 cells." in markdown(tables)


def test_the_notes_say_what_is_published_open_and_computed(tmp_path: Path) -> None:
    text = markdown(make_tables(tmp_path))
    assert text.startswith("# A grid\n\n**Phantoms, not patients")
    assert "† Not comparable: the study scores other images, or by other rules." in text
    assert "Net carafe: Its structure on GlaS is open" in text
    assert "corrected by Holm's method" in text


def test_the_csv_files_contain_every_number_and_no_mark(tmp_path: Path) -> None:
    tables = make_tables(tmp_path)
    row = next(
        row
        for row in csv.DictReader(io.StringIO(scores_csv(tables)))
        if (row["arm"], row["metric"]) == ("carafe", "transunet_dice")
    )
    assert float(row["mean"]) == pytest.approx(65.75) and float(row["difference"]) == pytest.approx(2)
    assert (row["cases"], row["seeds"], row["pairs"]) == ("8", "2", "8")
    assert (row["published"], row["published_comparable"]) == ("91.64", "false")
    cost = next(csv.DictReader(io.StringIO(costs_csv(tables))))
    assert (cost["parameters"], cost["macs"], cost["image"]) == ("11400000", "12300000000", "3x512x512")


def test_latex_escapes_what_it_must(tmp_path: Path) -> None:
    text = latex(make_tables(tmp_path))
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 5
    assert r"Dice (\%)" in text and r"$^\dagger$" in text and r"$\pm$" in text
    assert not any(character in text for character in "†±")


def test_tables_are_written_again_over_earlier_ones(tmp_path: Path) -> None:
    tables = make_tables(tmp_path)
    for _ in range(2):
        folder = write_tables(tables, tmp_path / "tables")
    assert {path.name for path in folder.iterdir()} >= {"study.md", "study.tex", "scores.csv", "costs.csv"}
