"""Folds joined, seeds averaged, arms compared: against numbers worked out by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wilcoxon

from i2net_bundle.metrics.holm import holm
from i2net_bundle.reports.markup import MARKDOWN
from i2net_bundle.studies.costs import Cost
from i2net_bundle.studies.results import joined, study_results
from i2net_bundle.studies.study_tables import StudyTables, text_tables
from tests.studies.grids import make_cells, make_folds, make_plan

DICE = ("transunet", 0)
NOISE = np.array([3, -1, 4, -1, 5, -9, 2, 6]) / 1000


def score(arm: str, seed: int, case: int) -> float:
    return 0.5 + 0.02 * case + {"a": 0.0, "b": 0.1, "c": 0.02}[arm] + 0.01 * seed + (arm == "c") * NOISE[case]


def test_folds_are_joined_to_one_table_with_unique_cases(tmp_path: Path) -> None:
    plan, folds = make_plan("ab"), make_folds()
    cells = make_cells(tmp_path, plan, folds, score)
    table = joined([cell for cell in cells if cell.arm == "a"], folds)
    assert table.cases == [f"case_{n}" for n in range(8)]
    assert table.case_values("strict_dice") == pytest.approx([score("a", 0, n) for n in range(8)])


def test_scores_are_means_over_cases_of_means_over_seeds(tmp_path: Path) -> None:
    plan, folds = make_plan("ab", (0, 1, 2)), make_folds()
    results = study_results(plan, folds, make_cells(tmp_path, plan, folds, score))
    a, b = results.arms
    assert (a.seeds, results.complete, results.cases) == ((0, 1, 2), True, 8)
    # cases 0.5 ... 0.64: 0.57, and 0.01 for the mean seed; in %
    assert a.means[DICE] == pytest.approx(58.0)
    assert b.means[DICE] == pytest.approx(68.0)
    assert a.deviations[DICE] == pytest.approx(1.0)  # of 57, 58 and 59
    assert a.counts[DICE] == 8
    assert a.differences == {}
    assert b.differences[DICE].mean == pytest.approx(10.0)


def test_one_seed_has_no_deviation(tmp_path: Path) -> None:
    plan, folds = make_plan("ab"), make_folds()
    assert study_results(plan, folds, make_cells(tmp_path, plan, folds, score)).arms[0].deviations[DICE] is None


def test_the_miou_of_every_finished_cell_is_kept_and_shown(tmp_path: Path) -> None:
    plan, folds = make_plan("ab"), make_folds()
    cells = make_cells(tmp_path, plan, folds, score)
    for cell, value in zip([cell for cell in cells if cell.arm == "a"], (0.5, 0.6), strict=True):
        (cell.folder / "evaluation" / "summary.json").write_text(json.dumps({"iou": {"mean": value, "classes": {}}}))
    results = study_results(plan, folds, cells)
    assert [arm.mean_ious for arm in results.arms] == [(0.5, 0.6), ()]
    costs = {arm.name: Cost(1, 1, (1, 3, 8, 8)) for arm in plan.arms}
    table = list(text_tables(StudyTables(results, costs, {}, {}, None), MARKDOWN))[-1]
    assert table.header == ["Method", "runs", "mIoU"]
    assert [row[1:] for row in table.rows] == [["2", "0.550 ± 0.071"], ["0", "-"]]


def test_p_is_that_of_wilcoxon_corrected_over_the_arms(tmp_path: Path) -> None:
    plan, folds = make_plan("abc"), make_folds()
    results = study_results(plan, folds, make_cells(tmp_path, plan, folds, score))
    raw = [wilcoxon([score(arm, 0, n) - score("a", 0, n) for n in range(8)]).pvalue for arm in "bc"]
    assert [arm.differences[DICE].p for arm in results.arms[1:]] == pytest.approx(holm(raw))
    assert raw[0] < results.arms[1].differences[DICE].p


def test_fewer_than_six_patients_get_neither_interval_nor_p(tmp_path: Path) -> None:
    plan, folds = make_plan("ab"), make_folds()
    results = study_results(plan, folds, make_cells(tmp_path, plan, folds, score, patients=True))  # 8 cases, 4 patients
    difference = results.arms[1].differences[DICE]
    assert results.resampled == "patients"
    assert (difference.interval, difference.p, difference.pairs) == (None, None, 8)
    assert difference.mean == pytest.approx(10.0)


def test_an_arm_without_all_folds_of_a_seed_has_no_scores(tmp_path: Path) -> None:
    plan, folds = make_plan("ab"), make_folds()
    cells = make_cells(tmp_path, plan, folds, score)
    shutil.rmtree(cells[-1].folder)  # a fold of b
    a, b = study_results(plan, folds, cells).arms
    assert (b.seeds, dict(b.means), dict(b.differences), b.finished, b.cells) == ((), {}, {}, 1, 2)
    assert a.means[DICE] == pytest.approx(57.0)


def test_only_seeds_whose_folds_are_all_finished_count(tmp_path: Path) -> None:
    plan, folds = make_plan("ab", (0, 1)), make_folds()
    cells = make_cells(tmp_path, plan, folds, score)
    shutil.rmtree(next(cell.folder for cell in cells if (cell.arm, cell.seed) == ("b", 1)))
    b = study_results(plan, folds, cells).arms[1]
    assert (b.seeds, b.means[DICE]) == ((0,), pytest.approx(67.0))


def test_a_study_without_finished_cells_has_no_columns(tmp_path: Path) -> None:
    plan, folds = make_plan("ab"), make_folds()
    cells = make_cells(tmp_path, plan, folds, score)
    shutil.rmtree(tmp_path / "cells")
    results = study_results(plan, folds, cells)
    assert (dict(results.protocols), results.complete) == ({}, False)


def test_folds_of_other_classes_are_refused(tmp_path: Path) -> None:
    plan, folds = make_plan("ab"), make_folds()
    cells = make_cells(tmp_path, plan, folds, score)
    path = cells[0].folder / "evaluation" / "metrics.csv"
    path.write_text(path.read_text().replace("gland", "tumour"))
    with pytest.raises(ValueError, match=r"a/fold_1/seed_0 scores the classes gland; a/fold_0/seed_0 scores tumour"):
        study_results(plan, folds, cells)
