"""Paired comparisons: numbers computed by hand, and runs that must not be paired."""

from __future__ import annotations

import csv
import itertools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2net_bundle.metrics.uncertainty import bootstrap_interval
from i2net_bundle.reports.comparison import compare_runs, paired_difference, run_names
from i2net_bundle.reports.comparison_tables import csv_text, latex, markdown, notes, write_comparison
from tests.reports.runs import score_rows, write_scores

BASE = {f"case{i}": [0.5 + 0.03 * i, 0.6 + 0.02 * i, 0.7] for i in range(7)}


def run(folder: Path, dice: Mapping[str, Sequence[float | None]], **options: Any) -> Path:
    return write_scores(folder, score_rows(dice, **options))


def shifted(steps: Sequence[float]) -> dict[str, list[float]]:
    return {case: [values[0] + step, *values[1:]] for (case, values), step in zip(BASE.items(), steps, strict=True)}


def test_differences_are_means_over_pairs_with_their_interval(tmp_path: Path) -> None:
    steps = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, -0.015]
    runs = [run(tmp_path / "a", BASE), run(tmp_path / "b", shifted(steps))]
    comparison = compare_runs(runs)
    difference = comparison.differences[0]["strict", 3]  # aorta
    assert difference.mean == pytest.approx(100 * np.mean(steps))
    assert difference.interval == pytest.approx(bootstrap_interval(100 * np.array(steps)))
    assert difference.pairs == difference.tested == 7
    average = comparison.differences[0]["strict", 0]
    assert average.mean == pytest.approx(100 * np.mean(steps) / 3)
    assert comparison.means[0]["strict", 3] == pytest.approx(100 * np.mean([values[0] for values in BASE.values()]))


def signed_rank_p(differences: Sequence[float]) -> float:
    """Two-sided p of the signed-rank test, by enumerating all signs."""
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    sums = [sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign) for signs in _signs(len(ranks))]
    seen = sum(rank for rank, value in zip(ranks, differences, strict=True) if value > 0)
    return min(1.0, 2 * min(np.mean(np.array(sums) <= seen), np.mean(np.array(sums) >= seen)))


def _signs(count: int) -> itertools.product:
    return itertools.product((False, True), repeat=count)


@pytest.mark.parametrize("seed", range(5))
def test_p_equals_the_enumeration_of_all_signs(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.3, 1, 8)
    assert paired_difference(np.zeros(8), values).p == pytest.approx(signed_rank_p(values))


def test_equal_runs_have_p_1_and_raise_no_warning(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, BASE) for name in ("a", "b")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison = compare_runs(runs)
    assert {difference.p for difference in comparison.differences[0].values()} == {1.0}
    assert {difference.mean for difference in comparison.differences[0].values()} == {0.0}
    assert "Their p cannot fall below 0.05" in " ".join(notes(comparison))


def test_rounding_differences_are_ties() -> None:
    first = np.array([0.1, 0.2, 0.3])
    assert paired_difference(first, first + 1e-16).tested == 0


@pytest.mark.parametrize(("cases", "smallest"), [(5, 0.0625), (6, 0.03125)])
def test_five_pairs_cannot_reach_five_percent(cases: int, smallest: float) -> None:
    assert paired_difference(np.zeros(cases), np.arange(1.0, cases + 1)).p == pytest.approx(smallest)


def test_the_test_ranks_each_patient_once(tmp_path: Path) -> None:
    patient = {case: f"p{number // 2}" for number, case in enumerate(BASE)}  # 2, 2, 2 and 1 images
    steps = [0.01, 0.03, 0.02, 0.02, 0.05, 0.07, 0.08]
    runs = [run(tmp_path / "a", BASE, patient=patient), run(tmp_path / "b", shifted(steps), patient=patient)]
    comparison = compare_runs(runs)
    difference = comparison.differences[0]["strict", 3]
    assert comparison.resampled == "patients"
    assert difference.pairs == 7 and difference.tested == 4  # mean differences 2, 2, 6 and 8
    assert difference.p == pytest.approx(2 / 2**4)
    assert difference.interval == pytest.approx(bootstrap_interval(100 * np.array(steps), list(patient.values())))


def test_pairs_defined_in_one_run_only_are_counted(tmp_path: Path) -> None:
    other = {case: [*values[:2], None if case == "case3" else values[2]] for case, values in BASE.items()}
    rows = score_rows(other)
    reference = score_rows(BASE, status={("case3", "spleen"): "invented"})
    runs = [write_scores(tmp_path / "a", reference), write_scores(tmp_path / "b", rows)]
    comparison = compare_runs(runs)
    difference = comparison.differences[0]["strict", 5]
    assert difference.pairs == 6 and difference.undefined == 1
    assert any(note.startswith("Left out: 1 pair whose metric") for note in notes(comparison))


def test_a_difference_of_fewer_than_six_cases_has_no_interval_and_a_note_says_why(tmp_path: Path) -> None:
    few = dict(list(BASE.items())[:5])
    comparison = compare_runs([run(tmp_path / "a", few), run(tmp_path / "b", few)])
    assert all(difference.interval is None for difference in comparison.differences[0].values())
    text = markdown(comparison)
    assert "| +0.00 | none | 1.000 | 5 |" in text and "An interval needs at least 6 cases." in text
    assert "An interval needs" not in markdown(compare_runs([run(tmp_path / name, BASE) for name in ("c", "d")]))


def test_cases_that_some_run_lacks_are_named(tmp_path: Path) -> None:
    fewer = {case: values for case, values in BASE.items() if case != "case2"}
    runs = [run(tmp_path / "a", BASE), run(tmp_path / "b", {**fewer, "extra": [1, 1, 1]})]
    with pytest.raises(ValueError, match=r"a lacks extra; b lacks case2\. .*--common-only"):
        compare_runs(runs)
    comparison = compare_runs(runs, common_only=True)
    assert comparison.cases == list(fewer) and comparison.left_out == ["case2", "extra"]
    assert "Left out, because some run lacks them: case2, extra" in markdown(comparison)


def test_runs_that_cannot_be_paired_are_refused(tmp_path: Path) -> None:
    a = run(tmp_path / "a", BASE)
    other_classes = run(tmp_path / "b", BASE, classes=("aorta", "liver", "stomach"))
    with pytest.raises(ValueError, match="b scores the classes aorta, liver, stomach; a scores aorta, liver, spleen"):
        compare_runs([a, other_classes])
    other_unit = run(tmp_path / "c", BASE, unit="voxel")
    with pytest.raises(ValueError, match="c measures distances in voxels, a in mm"):
        compare_runs([a, other_unit])
    rows = [{k: v for k, v in row.items() if not k.startswith("transunet")} for row in score_rows(BASE)]
    with pytest.raises(ValueError, match="d is scored by strict; a by strict, transunet"):
        compare_runs([a, write_scores(tmp_path / "d", rows)])
    rows = [{**row, "label_ml": 7 if row["case"] == "case4" else row["label_ml"]} for row in score_rows(BASE)]
    with pytest.raises(ValueError, match=r"aorta of case4 .*scored against different labels"):
        compare_runs([a, write_scores(tmp_path / "e", rows)])
    with pytest.raises(ValueError, match="no case in common"):
        compare_runs([a, run(tmp_path / "f", {"x": [1, 1, 1]})], common_only=True)
    with pytest.raises(ValueError, match="two runs or more"):
        compare_runs([a])
    with pytest.raises(ValueError, match="given twice"):
        compare_runs([a, a / "evaluation"])
    with pytest.raises(FileNotFoundError, match="Evaluate first"):
        compare_runs([a, tmp_path])


def test_runs_with_the_same_name_are_told_apart_by_parent_folders() -> None:
    folders = [Path("/x/k3/run"), Path("/x/k4/run/evaluation")]
    assert run_names(folders) == ["k3/run", "k4/run"]
    assert run_names([Path("/x/a"), Path("/x/b")]) == ["a", "b"]


def test_tables_have_the_papers_layout_and_mark_the_best(tmp_path: Path) -> None:
    better, best = ({case: [v + step for v in values] for case, values in BASE.items()} for step in (0.05, 0.1))
    names = ["I2Net_K3", "best", "50%"]
    runs = [run(tmp_path / name, dice) for name, dice in zip(names, (better, best, BASE), strict=True)]
    comparison = compare_runs(runs)
    lines = markdown(comparison).splitlines()
    assert lines[2] == "| Method | Dice (%) | HD95 (voxels) | aorta | liver | spleen |"
    # means of the last: aorta 0.59, liver 0.66, spleen 0.70, so 0.65 and a distance of 20 (1 - 0.65)
    assert lines[6].startswith("| 50% | 65.00 | 7.00 | 59.00 |")
    assert lines[5].startswith("| best | **75.00** | **5.00** | **69.00** |")
    assert lines[4].startswith(r"| I2Net\_K3 | <u>70.00</u> | <u>6.00</u> | <u>64.00</u> |")
    text = latex(comparison)
    assert r"I2Net\_K3 & \underline{70.00} & \underline{6.00} &" in text and r"50\% & 65.00" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2 * 3  # per protocol: scores, two others
    assert r"\begin{tabular}{lrrrrr}" in text and "$-$5.00" in text


def test_the_csv_contains_every_mean_and_difference(tmp_path: Path) -> None:
    steps = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07]
    comparison = compare_runs([run(tmp_path / "a", BASE), run(tmp_path / "b", shifted(steps))])
    rows = list(csv.DictReader(csv_text(comparison).splitlines()))
    assert len(rows) == 2 * (5 + 6)  # strict has surface Dice too
    row = next(r for r in rows if (r["run"], r["protocol"], r["class"]) == ("b", "strict", "aorta"))
    assert float(row["difference"]) == pytest.approx(4) and float(row["p"]) == pytest.approx(2 / 2**7, rel=1e-4)
    assert row["pairs"] == "7" and row["reference"] == "a" and row["unit"] == "%"


def test_glands_are_compared_as_pixels_and_as_objects(tmp_path: Path) -> None:
    for name, step in (("a", 0.0), ("b", 0.1)):
        dice = {f"testA_{i}": [0.5 + 0.05 * i + step] for i in range(6)}
        rows = score_rows(dice, ["gland"], "pixel")
        write_scores(tmp_path / name, [{**row, "object_f1": row["strict_dice"], "object_hausdorff": 9} for row in rows])
    text = markdown(compare_runs([tmp_path / "a", tmp_path / "b"]))
    assert "| Method | Dice (%) | HD95 (px) |" in text and "| Method | F1 (%) | Hausdorff (px) |" in text


def test_files_are_never_overwritten(tmp_path: Path) -> None:
    comparison = compare_runs([run(tmp_path / "a", BASE), run(tmp_path / "b", BASE)])
    folder = write_comparison(comparison, tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == ["comparison.csv", "comparison.md", "comparison.tex"]
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        write_comparison(comparison, tmp_path / "out")


def test_a_signed_difference_has_no_best_value(tmp_path: Path) -> None:
    for name, step in (("a", 0.0), ("b", 0.1)):
        rows = score_rows({case: [value + step for value in values] for case, values in BASE.items()})
        write_scores(tmp_path / name, [{**row, "volume_difference_ml": row["strict_dice"]} for row in rows])
    lines = markdown(compare_runs([tmp_path / "a", tmp_path / "b"])).splitlines()
    sizes = lines[lines.index("## Sizes: predicted against true") :]
    assert sizes[2] == "| Method | volume difference (mL) |"
    assert sizes[4:6] == ["| a | 0.65 |", "| b | 0.75 |"]


def test_metrics_that_some_run_lacks_are_left_out_and_named(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "strict_surface_dice"} for row in score_rows(BASE)]
    text = markdown(compare_runs([run(tmp_path / "a", BASE), write_scores(tmp_path / "b", rows)]))
    assert "surface Dice (%)" not in text
    assert "Metrics left out, because some run lacks them: strict surface Dice." in text


def test_many_classes_have_a_table_with_one_row_per_class(tmp_path: Path) -> None:
    classes = [f"class {number}" for number in range(30)]
    dice = {f"case{i}": [0.5 + 0.01 * i + 0.01 * number for number in range(30)] for i in range(6)}
    comparison = compare_runs([run(tmp_path / name, dice, classes=classes) for name in ("a", "b")])
    lines = markdown(comparison).splitlines()
    assert "| Method | Dice (%) | HD95 (mm) | surface Dice (%) |" in lines
    assert lines.count("| Dice (%) | a | b |") == 2 and lines.count("| class 29 | 81.50 | 81.50 |") == 2
    assert max(map(len, latex(comparison).splitlines())) < 200
