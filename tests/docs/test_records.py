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
SECTION = re.search(
    r"^## Table 1 on GlaS$(.*?)^## ",
    (ROOT / "docs" / "results.md").read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)


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


def test_the_table_of_the_page_is_that_of_the_records() -> None:
    assert SECTION is not None
    rows = [line.strip("| ").split(" | ") for line in SECTION[1].splitlines() if line.startswith("| `")]
    assert len(rows) == len(list((RECORDS / "table1" / "cells").glob("*/fold_0/seed_0")))
    for arm, _, dice, hd95, f1, *_ in rows:
        cases = scores(RECORDS / "table1" / "cells" / arm.strip("`") / "fold_0" / "seed_0")
        assert len(cases) == 17
        assert float(dice) == pytest.approx(100 * mean(cases, "transunet_dice"), abs=0.005)
        assert float(hd95) == pytest.approx(mean(cases, "transunet_hd95"), abs=0.005)
        assert float(f1) == pytest.approx(mean(cases, "object_f1"), abs=0.0005)


def mean(cases: list[dict[str, str]], column: str) -> float:
    return statistics.fmean(float(row[column]) for row in cases)
