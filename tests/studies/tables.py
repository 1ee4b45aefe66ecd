"""Tables of a small study with made-up scores and costs."""

from __future__ import annotations

import shutil
from pathlib import Path

from i2net_bundle.studies.costs import Cost
from i2net_bundle.studies.plan import Published
from i2net_bundle.studies.published import published_table
from i2net_bundle.studies.results import study_results
from i2net_bundle.studies.study_tables import StudyTables
from tests.studies.grids import make_cells, make_folds, make_plan

ARMS = ("i2net", "carafe", "mine")


def score(arm: str, seed: int, case: int) -> float:
    return 0.6 + 0.01 * case + 0.02 * ARMS.index(arm) + 0.005 * seed


def make_tables(
    folder: Path, seeds: tuple[int, ...] = (0, 1), comparable: bool = False, cases: int = 8, missing: str = ""
) -> StudyTables:
    plan, folds = make_plan(ARMS, seeds, Published("table1_glas", comparable)), make_folds(cases)
    cells = make_cells(folder, plan, folds, score)
    if missing:
        shutil.rmtree(folder / "cells" / missing)
    costs = {name: Cost(11_400_000 + n, 12_300_000_000, (1, 3, 512, 512)) for n, name in enumerate(ARMS)}
    results = study_results(plan, folds, cells)
    return StudyTables(
        results, costs, {"i2net": 1.5}, {"i2net": 0.25}, published_table("table1_glas"), "Gland phantoms"
    )
