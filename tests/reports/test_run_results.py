"""Reading the folder of a run, and messages about files that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from i2net_bundle.reports.run_results import read_run, read_scores, read_training
from tests.reports.runs import score_rows, write_run, write_scores, write_training


def test_a_complete_run_is_read(tmp_path: Path) -> None:
    results = read_run(write_run(tmp_path / "run", cases=3))
    assert results.name == "run" and results.training["epoch"].tolist() == [1, 2, 3, 4]
    assert results.scores is not None and results.scores.cases == ["case_000", "case_001", "case_002"]
    assert sorted(results.views) == results.scores.cases
    assert results.calibration is not None and results.summary is not None and results.settings is not None


def test_the_folder_of_an_evaluation_is_read(tmp_path: Path) -> None:
    results = read_run(write_run(tmp_path / "run") / "evaluation")
    assert results.scores is not None and results.views and not results.training


def test_a_folder_without_a_run_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"neither training\.csv nor evaluation/metrics\.csv"):
        read_run(tmp_path)


def test_empty_cells_of_training_are_nan(tmp_path: Path) -> None:
    write_training(tmp_path)
    assert np.isnan(read_training(tmp_path / "training.csv")["val_mean_dice"]).tolist() == [True, False, True, False]


def test_scores_are_read_as_cases_by_classes(tmp_path: Path) -> None:
    rows = score_rows({"a": [0.5, 0.7, None], "b": [1.0, 0.2, 0.6]}, patient={"a": "p1", "b": "p1"})
    scores = read_scores(write_scores(tmp_path, rows) / "evaluation" / "metrics.csv")
    assert scores.matrix("strict_dice")[0, :2].tolist() == [0.5, 0.7] and np.isnan(scores.matrix("strict_dice")[0, 2])
    assert scores.case_values("strict_dice") == pytest.approx([0.6, 0.6])  # of the two and of the three defined
    assert scores.statuses()[0, 2] == "absent" and scores.patients() == ["p1", "p1"] and scores.unit == "mm"


def test_patients_are_known_only_if_every_case_names_one(tmp_path: Path) -> None:
    rows = score_rows({"a": [1, 1, 1], "b": [1, 1, 1]}, patient={"a": "p1", "b": ""})
    assert read_scores(write_scores(tmp_path, rows) / "evaluation" / "metrics.csv").patients() is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no scores"),
        ("case,class,strict_dice\n", "contains no scores"),
        ("name,value\nx,1\n", "every row needs a case and a class"),
        ("case,class,dice\na,liver,0.5\n", "has neither strict_dice nor transunet_dice"),
        ("case,class,strict_dice\na,liver,0.5\na,liver,0.6\n", "contains liver of a twice"),
    ],
)
def test_files_that_are_not_tables_of_scores_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"metrics\.csv.*{message}"):
        read_scores(tmp_path / "metrics.csv")


def test_a_score_that_is_not_a_number_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("case,class,strict_dice\na,liver,high\n")
    with pytest.raises(ValueError, match="strict_dice of liver in a is 'high'"):
        read_scores(tmp_path / "metrics.csv").matrix("strict_dice")


def test_a_broken_record_of_training_is_named(tmp_path: Path) -> None:
    (tmp_path / "training.csv").write_text("epoch,loss\n1,oops\n")
    with pytest.raises(ValueError, match=r"training\.csv is not a record of training"):
        read_training(tmp_path / "training.csv")


def test_broken_json_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "evaluation" / "calibration.json").write_text("{")
    with pytest.raises(ValueError, match=r"calibration\.json is not valid JSON"):
        read_run(run)
