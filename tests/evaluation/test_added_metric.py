"""A metric added in one place reaches every file and page."""

from __future__ import annotations

import csv
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from i2net_bundle.evaluation.case_scores import CaseScores, score_case
from i2net_bundle.evaluation.scores import scoring_pool
from i2net_bundle.evaluation.summary import mean_scores, summarize, table, write_tables
from i2net_bundle.metrics import METRICS
from i2net_bundle.reports.comparison import compare_runs
from i2net_bundle.reports.comparison_tables import csv_text, latex, markdown
from i2net_bundle.reports.report import write_report
from i2net_bundle.reports.run_results import read_run
from i2net_bundle.reports.score_figures import box_plots

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "tests" / "docs" / "example_metric.py"
NAME, LABEL = "relative_volume_difference", "relative volume difference"
CLASSES = ["background", "liver", "spleen"]


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Import the example, and remove its metric afterwards."""
    before = dict(METRICS)
    module = importlib.import_module("tests.docs.example_metric")
    if NAME not in METRICS:  # imported by an earlier test
        importlib.reload(module)
    yield
    METRICS.clear()
    METRICS.update({name: metric for name, metric in before.items() if name != NAME})


def maps(case: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth: the liver has 10 true and 10 + case predicted voxels; case 0 misses the spleen."""
    truth, prediction = np.zeros((2, 30, 4, 4), np.uint8)
    truth[:10, 0, 0], prediction[: 10 + case, 0, 0] = 1, 1
    truth[:5, 2, 2], prediction[:5, 2, 2] = 2, 2 if case else 0
    return prediction, truth


def scored(number: int) -> CaseScores:
    return score_case(*maps(number), 3, (1.0, 1.0, 1.0), "mm", {"case": f"case{number}"})


def evaluate(run: Path) -> None:
    cases = [scored(number) for number in range(4)]
    write_tables(run / "evaluation", cases, CLASSES, summarize(cases, CLASSES))


def test_the_metric_follows_its_rules_and_is_averaged() -> None:
    case, shifted = scored(0), scored(3)
    assert [scores.metrics[NAME] for scores in case.classes] == [0, -1]  # the missed spleen lacks all of its volume
    assert [scores.metrics[NAME] for scores in shifted.classes] == [pytest.approx(0.3), 0]
    assert mean_scores([case, shifted])[NAME] == pytest.approx((-0.5 + 0.15) / 2)


def test_the_files_of_an_evaluation_contain_it(tmp_path: Path) -> None:
    evaluate(tmp_path)
    with (tmp_path / "evaluation" / "metrics.csv").open(newline="") as file:
        rows = {(row["case"], row["class"]): row for row in csv.DictReader(file)}
    assert [rows[f"case{number}", "liver"][NAME] for number in range(4)] == ["0", "0.1", "0.2", "0.3"]
    assert list(rows["case0", "liver"]).index(NAME) == list(rows["case0", "liver"]).index("volume_difference_ml") + 1
    summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text())
    assert summary["classes"]["liver"][NAME]["mean"] == pytest.approx(0.15)
    assert summary["mean"][NAME]["n"] == 4
    assert NAME in table(summary).splitlines()[0]


def test_worker_processes_compute_it(tmp_path: Path) -> None:
    with scoring_pool(1) as pool:
        assert pool.submit(scored, 3).result().classes[0].metrics[NAME] == pytest.approx(0.3)


@pytest.mark.slow
def test_the_report_shows_it(tmp_path: Path) -> None:
    evaluate(tmp_path)
    page = write_report(tmp_path / "evaluation").read_text(encoding="utf-8")
    assert f'<th scope="col">{LABEL}</th>' in page
    assert re.search(r'<th scope="row">liver</th>.*<td>0\.150<br>', page)


def test_the_box_plots_show_it(tmp_path: Path) -> None:
    evaluate(tmp_path)
    scores = read_run(tmp_path).scores
    assert scores is not None
    picture = box_plots(scores)
    axis = next(axis for axis in picture.figure.axes if axis.get_title() == LABEL)
    assert LABEL in picture.alt and axis.get_xlim()[0] < -1  # the missed spleen


def test_comparisons_show_it_without_a_best_value(tmp_path: Path) -> None:
    for name in ("a", "b"):
        evaluate(tmp_path / name)
    comparison = compare_runs([tmp_path / "a", tmp_path / "b"])
    lines = markdown(comparison).splitlines()
    assert f"| Method | volume difference (mL) | {LABEL} |" in lines and "| a | 0.00 | -0.050 |" in lines
    assert f"& {LABEL} " in latex(comparison)
    assert f"b,size,{NAME},mean,,-0.05," in csv_text(comparison)


def test_the_documentation_shows_the_example() -> None:
    text = (REPOSITORY / "docs" / "evaluation.md").read_text(encoding="utf-8")
    code = EXAMPLE.read_text(encoding="utf-8").split("\n\n", 1)[1].strip()
    assert f"```python\n{code}\n```" in text
