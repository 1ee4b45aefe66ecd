"""Figures and tables show the numbers of the scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from i2net_bundle.metrics.uncertainty import bootstrap_interval
from i2net_bundle.reports.calibration import Reliability
from i2net_bundle.reports.curves import training_pictures
from i2net_bundle.reports.run_results import ScoreTable, read_scores, read_training
from i2net_bundle.reports.score_figures import bland_altman, box_plots, reliability_diagram
from i2net_bundle.reports.score_tables import case_table, mean_with_interval, object_table, score_table
from tests.reports.runs import score_rows, write_scores, write_training

DICE = {"a": [0.5, 0.7, 0.9], "b": [0.6, 0.8, 0.0], "c": [0.7, 0.9, 0.8], "d": [0.9, 0.7, 0.6]}


def scores(tmp_path: Path, unit: str = "mm", **known: dict[str, str]) -> ScoreTable:
    rows = score_rows(DICE, unit=unit, status={("b", "spleen"): "missed"}, **known)
    return read_scores(write_scores(tmp_path, rows) / "evaluation" / "metrics.csv")


def points(axis: object) -> np.ndarray:
    """All points of an axis (P, 2)."""
    return np.concatenate([np.asarray(part.get_offsets()) for part in axis.collections])  # type: ignore[attr-defined]


def test_every_case_is_a_point(tmp_path: Path) -> None:
    dice, strict, surface, transunet = box_plots(scores(tmp_path)).figure.axes
    assert [text.get_text() for text in dice.get_yticklabels()] == ["aorta", "liver", "spleen"]
    shown = points(dice)
    assert len(shown) == 2 * 12  # both protocols
    assert sorted(x for x, y in shown if round(y) == 0) == pytest.approx(sorted(2 * [0.5, 0.6, 0.7, 0.9]))
    assert len(points(strict)) == len(points(surface)) == len(points(transunet)) == 12
    titles = [axis.get_title() for axis in (dice, strict, surface, transunet)]
    assert titles == ["Dice", "strict HD95, mm", "strict surface Dice", "transunet HD95, voxels"]


def test_a_missed_organ_does_not_compress_the_scale_of_distances(tmp_path: Path) -> None:
    strict = box_plots(scores(tmp_path)).figure.axes[1]
    assert strict.get_xlim()[1] < 50  # the diagonal is 400, the largest other distance 25
    assert max(points(strict)[:, 0]) <= strict.get_xlim()[1]
    assert [text.get_text() for text in strict.get_legend().get_texts()] == ["missed"]


def test_parts_of_a_test_set_have_their_own_rows(tmp_path: Path) -> None:
    part = {"a": "testA", "b": "testA", "c": "testB", "d": "testB"}
    axis = box_plots(scores(tmp_path, part=part)).figure.axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()][:2] == ["aorta, testA", "aorta, testB"]


@pytest.mark.parametrize(("cases", "limits"), [(5, False), (6, True)])
def test_bland_altman_draws_bias_and_limits_of_agreement_of_six_cases_or_more(
    cases: int, limits: bool, tmp_path: Path
) -> None:
    dice = np.linspace(0.5, 0.9, cases)
    rows = score_rows({f"case{number}": [value, 0.5, 0.5] for number, value in enumerate(dice)})
    picture = bland_altman(read_scores(write_scores(tmp_path, rows) / "evaluation" / "metrics.csv"))
    assert picture is not None
    truth, prediction = np.full(cases, 100.0), 100 * dice
    difference = prediction - truth
    axis = picture.figure.axes[0]
    assert points(axis) == pytest.approx(np.stack([(truth + prediction) / 2, difference], axis=1))
    heights = sorted(line.get_ydata()[0] for line in axis.lines)
    bias, spread = difference.mean(), 1.96 * difference.std(ddof=1)
    assert heights == pytest.approx(sorted([0, bias, *([bias - spread, bias + spread] if limits else [])]))


def test_sizes_in_images_are_areas_in_pixels(tmp_path: Path) -> None:
    picture = bland_altman(scores(tmp_path, unit="pixel"))
    assert picture is not None and "area in px" in picture.alt


def test_reliability_shows_accuracy_over_confidence() -> None:
    reliability = Reliability()
    reliability.add(np.full(100, 0.75), np.arange(100) < 60)
    reliability.add(np.full(3, 0.35), np.zeros(3, bool))  # too few pixels to plot
    part = reliability.summary()
    picture = reliability_diagram({"all": part, "foreground": part, "classes": {}, "where": "whole images"})
    curve = picture.figure.axes[0].lines[1]
    assert curve.get_xdata().tolist() == pytest.approx([0.75]) and curve.get_ydata().tolist() == pytest.approx([0.6])
    assert f"ECE {(100 * 0.15 + 3 * 0.35) / 103:.3f}" in picture.alt


def test_every_loss_term_has_a_panel(tmp_path: Path) -> None:
    write_training(tmp_path)
    pictures = training_pictures(read_training(tmp_path / "training.csv"))
    assert [picture.name for picture in pictures] == ["losses", "learners", "optimisation"]
    titles = [axis.get_title() for axis in pictures[0].figure.axes]
    assert titles[:2] == ["total loss", "segmentation loss"] and titles[-1] == "validation: mean Dice"
    assert pictures[0].figure.axes[-1].lines[0].get_xdata().tolist() == [2, 4]  # epochs with a validation
    mean = pictures[1].figure.axes[1]
    assert [text.get_text() for text in mean.get_legend().get_texts()] == ["learner 0", "learner 1", "learner 2", "1/K"]


def test_missing_columns_of_training_are_left_out(tmp_path: Path) -> None:
    training = {"epoch": np.array([1.0]), "loss": np.array([0.5]), "mean_gate_0": np.array([1.0])}
    pictures = training_pictures(training)
    assert [picture.name for picture in pictures] == ["losses", "learners"]


def test_the_table_of_scores_gives_mean_interval_and_counts(tmp_path: Path) -> None:
    table = score_table(scores(tmp_path))
    assert table.header[:2] == ["class", "strict Dice"] and table.header[-3:] == ["missed", "invented", "absent"]
    assert table.rows[2][0] == "spleen" and table.rows[2][1] == "0.575\nno interval"  # of four cases
    assert table.rows[2][-3:] == ["1", "0", "0"]
    assert table.totals == 1 and table.rows[-1][1].startswith("0.675\n")  # of 0.7, 7/15, 0.8, 11/15


def test_cases_are_listed_worst_first(tmp_path: Path) -> None:
    table = case_table(scores(tmp_path))
    assert [row[0] for row in table.rows] == ["b", "a", "d", "c"]
    assert table.rows[0][-1] == "0.000\nmissed"


def test_objects_have_a_table_if_there_are_any(tmp_path: Path) -> None:
    assert object_table(scores(tmp_path)) is None
    rows = score_rows({"a": [0.5], "b": [0.7]}, ["gland"], "pixel", part={"a": "testA", "b": "testB"})
    rows = [{**row, "object_f1": row["strict_dice"], "object_hausdorff": 40} for row in rows]
    table = object_table(read_scores(write_scores(tmp_path / "glands", rows) / "evaluation" / "metrics.csv"))
    assert table is not None and list(table.header) == ["images", "object F1", "object Hausdorff, px"]
    assert [row[0] for row in table.rows] == ["all images", "testA", "testB"] and table.rows[1][
        1
    ] == "0.500\nno interval"


@pytest.mark.parametrize(("cases", "shown"), [(2, False), (5, False), (6, True)])
def test_a_mean_of_fewer_than_six_cases_says_that_it_has_no_interval(cases: int, shown: bool) -> None:
    values = np.linspace(0.2, 0.8, cases)
    mean, interval = mean_with_interval(values, None).splitlines()
    low, high = bootstrap_interval(values) or (0, 0)
    assert mean == "0.500" and interval == (f"{low:.3f} to {high:.3f}" if shown else "no interval")


def test_a_mean_of_undefined_values_is_a_dash() -> None:
    assert mean_with_interval(np.array([np.nan, np.nan]), None) == "–"
