"""The figures of docs/results.md are those of the records beside it."""

from __future__ import annotations

import csv
import json
import re
import statistics
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

RECORDS = ROOT / "docs" / "records"
CELLS = sorted(path.parent for path in RECORDS.glob("*/cells/*/*/*/cell.json"))
PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
TABLES = {"table1": ("Table 1 on GlaS", [0]), "table3": ("Table 3 on GlaS", [0, 1])}
"""Folder of records: the section with their table, and the folds in it."""


def scores(cell: Path) -> list[dict[str, str]]:
    with (cell / "evaluation" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: "/".join(cell.parts[-5:]))
def test_a_record_is_of_a_finished_cell(cell: Path) -> None:
    record = json.loads((cell / "cell.json").read_text(encoding="utf-8"))
    assert record["trained"] is True
    assert {row["case"] for row in scores(cell)} == set(record["record"]["fold::scored"])
    assert not any(case.startswith("test") for case in record["record"]["fold::scored"])
    epochs = (cell / "training.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [int(line.split(",")[0]) for line in epochs] == list(range(1, record["record"]["epochs"] + 1))


@pytest.mark.parametrize("study", TABLES)
def test_the_table_of_the_page_is_that_of_the_records(study: str) -> None:
    heading, folds = TABLES[study]
    section = re.search(rf"^## {heading}$(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE)
    assert section is not None
    rows = [line.strip("| ").split(" | ") for line in section[1].splitlines() if line.startswith("| `")]
    cells = RECORDS / study / "cells"
    assert {arm.strip("`") for arm, *_ in rows} == {path.name for path in cells.iterdir()}
    for arm, _, dice, hd95, f1, *_ in rows:
        cases = [row for fold in folds for row in scores(cells / arm.strip("`") / f"fold_{fold}" / "seed_0")]
        assert len(cases) == 17 * len(folds)
        assert float(dice) == pytest.approx(100 * mean(cases, "transunet_dice"), abs=0.005)
        assert float(hd95) == pytest.approx(mean(cases, "transunet_hd95"), abs=0.005)
        assert float(f1) == pytest.approx(mean(cases, "object_f1"), abs=0.0005)


def test_every_folder_of_records_has_its_table() -> None:
    assert {path.name for path in RECORDS.iterdir()} == {*TABLES, "learners", "glands"}


def mean(cases: list[dict[str, str]], column: str) -> float:
    return statistics.fmean(float(row[column]) for row in cases)


@pytest.mark.parametrize(("views", "name"), [("one", "one_pass"), ("four, flips", "flips")])
def test_the_figures_of_the_gland_weights_are_those_of_the_records(views: str, name: str) -> None:
    with (RECORDS / "glands" / "fold_0" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        cases = list(csv.DictReader(file))
    assert len(cases) == 17 and not any(row["case"].startswith("test") for row in cases)
    dice, median = mean(cases, "strict_dice"), statistics.median(float(row["strict_dice"]) for row in cases)
    distance = mean(cases, "transunet_hd95")
    objects = [mean(cases, f"object_{score}") for score in ("f1", "dice", "hausdorff")]
    figures = f"{distance:.1f} | {objects[0]:.3f} | {objects[1]:.3f}"
    assert f"| this one | {views} | {dice:.4f} ({median:.4f}) | {figures} | {objects[2]:.0f} |" in PAGE
    card = (ROOT / "models" / "glands" / "README.md").read_text(encoding="utf-8")
    shown = "one pass" if name == "one_pass" else "averaged over flips"
    row = next(line for line in card.splitlines() if line.startswith(f"| {shown} |"))
    assert [cell.split(",")[0].strip() for cell in row.split("|")[2:-1]] == [
        f"{dice:.3f} ({median:.3f})",
        *figures.split(" | "),
    ]


@pytest.mark.parametrize(
    ("processor", "cell"), [("Intel Xeon", "table3/cells/baseline"), ("AMD EPYC", "learners/cells/K=1")]
)
def test_the_figures_of_two_processors_are_those_of_the_records(processor: str, cell: str) -> None:
    cases = scores(RECORDS / cell / "fold_0" / "seed_0")
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {processor}"))
    dice, distance, objects = (mean(cases, name) for name in ("strict_dice", "transunet_hd95", "object_f1"))
    assert [item.strip() for item in row.split("|")[2:-1]] == [f"{100 * dice:.2f}", f"{distance:.2f}", f"{objects:.3f}"]
