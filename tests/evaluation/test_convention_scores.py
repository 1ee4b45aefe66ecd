"""Folders of masks are scored under every convention: sizes, units, batches and slices, tables, and the command."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.metrics import HausdorffDistanceMetric

from i2net_bundle.cli import main
from i2net_bundle.evaluation import folders
from i2net_bundle.evaluation.classwise import classwise
from i2net_bundle.evaluation.convention_scores import (
    BATCH_SIZE,
    LENGTHS,
    PIXELS,
    SIZES,
    CaseMeasures,
    ConventionScores,
    measure_case,
    score_conventions,
)
from i2net_bundle.evaluation.folders import evaluate_folders
from i2net_bundle.io.options import HistologyOptions
from i2net_bundle.metrics import CONVENTIONS
from i2net_bundle.workflow.stopping import Stopped
from tests.evaluation.mask_files import LABEL, PRED, save

UM = 0.62005


def image(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (96, 128)) -> np.ndarray:
    """Class 1 in boxes of rows and columns."""
    labels = np.zeros(size, np.uint8)
    for top, bottom, left, right in boxes:
        labels[top:bottom, left:right] = 1
    return labels


NARROW, WIDE = image((10, 50, 20, 40)), image((10, 50, 20, 52))  # 12 columns apart at the right border


def of_images(*pairs: tuple[np.ndarray, np.ndarray], um: float | None = UM) -> list[CaseMeasures]:
    return [measure_case(*pair, 2, None if um is None else [um, um], None if um is None else "µm") for pair in pairs]


def table(scores: ConventionScores, size: str, kind: str = PIXELS) -> dict[str, float]:
    return {key[0]: value for key, value in scores.values.items() if key[1:] == (size, kind)}


def test_sizes_and_units_of_an_image() -> None:
    scores = score_conventions(of_images((NARROW, WIDE)), 2)
    native, small = table(scores, "native"), table(scores, "128²")
    assert native["hausdorff_mean"] == 12
    assert table(scores, "native", LENGTHS)["hausdorff_mean"] == pytest.approx(12 * UM)
    # 96×128 to 128×128 and 512×512: the columns stay, or become four
    assert small["hausdorff_mean"] == 12 and table(scores, "512²")["hausdorff_mean"] == pytest.approx(48, abs=1)
    for size in SIZES:
        assert table(scores, size, LENGTHS)["hausdorff_mean"] == pytest.approx(12 * UM, abs=0.2)
    assert (scores.cases, scores.unit, scores.volumes) == (1, "µm", False)
    assert scores.dice == pytest.approx(2 * 20 / (20 + 32))


def test_lengths_follow_the_axis_that_is_resized() -> None:
    lower = image((10, 62, 20, 40))  # 12 rows longer than NARROW
    scores = score_conventions(of_images((NARROW, lower)), 2)
    assert table(scores, "128²")["hausdorff_mean"] == pytest.approx(16, abs=1)  # 96 rows to 128
    assert table(scores, "128²", LENGTHS)["hausdorff_mean"] == pytest.approx(12 * UM, abs=0.5)


def test_images_are_stacked_in_batches_in_their_order() -> None:
    pairs = [(NARROW, WIDE)] * (BATCH_SIZE + 1)
    seen: list[Any] = []

    def progress(batches: Sequence[Any]) -> Iterator[Any]:
        for batch in batches:
            seen.append((batch[0], len(batch[1])))
            yield batch

    scores = score_conventions(of_images(*pairs), 2, progress)
    assert seen == [(size, count) for size in ("512²", "128²") for count in (BATCH_SIZE, 1)]
    small = table(scores, "128²")
    alone = table(score_conventions(of_images(pairs[0]), 2), "128²")
    assert alone["batch_pooled_mean"] == alone["mask_pooled_mean"]  # every pixel of a stack of one is border
    assert scores.counts["batch_pooled_mean", "128²", PIXELS] == 2
    assert scores.counts["pooled_mean", "128²", PIXELS] == BATCH_SIZE + 1
    # all images are the same, so no pixel is nearer to the mask of another image
    assert small["batch_mask_pooled_mean"] == alone["mask_pooled_mean"]


def test_a_stack_hides_the_distance_to_a_mask_that_another_image_holds() -> None:
    far = image((10, 50, 100, 120))
    pairs = [(NARROW, far), (far, NARROW)]
    scores = score_conventions(of_images(*pairs), 2)
    assert table(scores, "128²")["pooled_mean"] > 60
    assert table(scores, "128²")["batch_mask_pooled_mean"] == 1


def test_images_of_different_sizes() -> None:
    other = image((10, 50, 20, 40), size=(200, 150))
    scores = score_conventions(of_images((NARROW, WIDE), (other, other)), 2)
    assert table(scores, "native")["hausdorff_mean"] == 6
    assert scores.counts["batch_pooled_mean", "512²", PIXELS] == 1


def test_without_a_size_of_pixels_there_are_no_lengths() -> None:
    for known in ([], of_images((NARROW, WIDE))):
        scores = score_conventions([*known, *of_images((NARROW, WIDE), um=None)], 2)
        assert scores.unit is None
        assert {kind for _, _, kind in scores.values} == {PIXELS}


def test_volumes_have_slices_and_no_batches() -> None:
    case = measure_case(PRED, LABEL, 9, [2.0, 2.0, 3.0], "mm")
    scores = score_conventions([case], 9)
    native, lengths = table(scores, "native"), table(scores, "native", LENGTHS)
    assert scores.volumes and not [name for name in native if CONVENTIONS[name].scope == "batch"]
    assert {size for _, size, _ in scores.values} == {"native"}
    assert (native["larger_mean"], lengths["larger_mean"]) == (2, 6)  # slices 2 to 5, found in 2 and 3
    # of 8 slices, 2 are found at distance 0, 2 are missed and 4 are empty
    assert scores.counts["slice_pooled_mean", "native", PIXELS] == 8
    assert scores.counts["slice_pooled_mean_skipped", "native", PIXELS] == 2
    assert native["slice_pooled_mean"] == native["slice_pooled_mean_skipped"] == 0
    assert (scores.one_empty, scores.both_empty) == (0, 7)


@pytest.fixture
def glands(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions and labels of three images; the third label is empty."""
    truths = [WIDE, image((5, 30, 5, 60), (60, 90, 70, 120)), image()]
    predictions = [NARROW, image((5, 30, 5, 60)), NARROW]
    listed = []
    for number, (pred, label) in enumerate(zip(predictions, truths, strict=True), 1):
        save(tmp_path / "masks" / f"a{number}_mask.png", pred * 255)
        save(tmp_path / "set" / f"a{number}_anno.png", label)
        listed.append({"image": f"a{number}_anno.png", "label": f"a{number}_anno.png"})
    header = {"labels": {"0": "background", "1": "gland"}, "label_values": "instances", "um_per_px": UM}
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({**header, "test": listed}))
    return tmp_path / "masks", tmp_path / "set"


def rows_of(folder: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with (folder / "conventions.csv").open(newline="", encoding="utf-8") as file:
        return {(row["convention"], row["size"], row["unit"]): row for row in csv.DictReader(file)}


def test_the_table_holds_the_scores_of_both_protocols_and_of_monai(glands: tuple[Path, Path], tmp_path: Path) -> None:
    mean = evaluate_folders(*glands, tmp_path / "out", conventions=True)["mean"]
    rows = rows_of(tmp_path / "out")
    assert float(rows["pooled_mean", "native", "px"]["distance"]) == pytest.approx(mean["transunet_hd95"]["mean"])
    assert float(rows["larger_mean_diagonal", "native", "px"]["distance"]) == pytest.approx(mean["strict_hd95"]["mean"])
    metric = HausdorffDistanceMetric(percentile=95)
    pairs = [(NARROW, WIDE), (image((5, 30, 5, 60)), image((5, 30, 5, 60), (60, 90, 70, 120)))]
    of_monai = [classwise(metric, *(torch.from_numpy(labels)[None] for labels in pair), 2).item() for pair in pairs]
    larger = rows["larger_mean", "native", "px"]
    assert float(larger["distance"]) == pytest.approx(np.mean(of_monai), abs=1e-4)  # MONAI is in single precision
    assert larger["n"] == "2"  # the empty mask is left out
    in_um = float(rows["larger_mean", "native", "µm"]["distance"])
    assert in_um == pytest.approx(UM * float(larger["distance"]))
    assert rows["area_mean", "native", "px"]["distance"] == "inf"


def test_the_command_prints_the_table_and_its_rules(
    glands: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["evaluate", *map(str, glands), "--conventions"])
    printed, out = capsys.readouterr().out, glands[0].with_name("masks_scores")
    page = (out / "conventions.md").read_text(encoding="utf-8")
    assert page in printed and "mean of 3 cases" in printed
    assert "3 cases, mean Dice" in page
    assert "1 class in one of the two masks only, 0 in neither" in page
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in lines}) == 1
    for name, convention in CONVENTIONS.items():
        assert (f"- `{name}`: {convention.rule}" in page) == (convention.scope != "slice")
    main(["evaluate", *map(str, glands), "--overwrite"])  # without conventions, none of an earlier evaluation stay
    assert {path.name for path in out.iterdir() if path.name.startswith("conventions")} == set()


def test_the_size_of_pixels_can_be_declared(glands: tuple[Path, Path], tmp_path: Path) -> None:
    evaluate_folders(*glands, tmp_path / "out", histology=HistologyOptions(um_per_px=2), conventions=True)
    rows = rows_of(tmp_path / "out")
    pixels, lengths = (float(rows["pooled_mean", "native", unit]["distance"]) for unit in ("px", "µm"))
    assert lengths == pytest.approx(2 * pixels)


def test_ignored_pixels_count_under_no_convention(tmp_path: Path) -> None:
    label = LABEL // 5
    label[:, :, 4:6][label[:, :, 4:6] == 1] = 2  # what the prediction misses
    save(tmp_path / "set" / "a.nii.gz", label)
    save(tmp_path / "masks" / "a_mask.nii.gz", PRED // 5)
    listed = [{"image": "a.nii.gz", "label": "a.nii.gz"}]
    labels = {"background": 0, "tumour": 1, "ignore": 2}
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({"labels": labels, "test": listed}))
    evaluate_folders(tmp_path / "masks", tmp_path / "set", tmp_path / "out", conventions=True)
    rows = rows_of(tmp_path / "out")
    assert {unit for _, _, unit in rows} == {"voxels", "mm"}
    assert {float(row["distance"]) for row in rows.values()} == {0}


def test_a_mask_that_cannot_be_scored_is_left_out(glands: tuple[Path, Path], tmp_path: Path) -> None:
    save(glands[0] / "a2_mask.png", np.zeros((5, 5), np.uint8))
    evaluate_folders(*glands, tmp_path / "out", conventions=True)
    assert rows_of(tmp_path / "out")["pooled_mean", "native", "px"]["n"] == "2"
    assert "a2_mask" in (tmp_path / "out" / "failed.csv").read_text()


def test_processes_give_the_same_table(glands: tuple[Path, Path], tmp_path: Path) -> None:
    for workers in (0, 1):
        evaluate_folders(*glands, tmp_path / str(workers), num_workers=workers, conventions=True)
    assert rows_of(tmp_path / "0") == rows_of(tmp_path / "1")


@pytest.mark.parametrize(
    ("stage", "message"),
    [("_score_files", "1 of 3 cases are scored"), ("write_conventions", None)],
)
def test_a_signal_stops_before_anything_is_written(
    stage: str, message: str | None, glands: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = getattr(folders, stage)

    def interrupted(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return function(*arguments)

    monkeypatch.setattr(folders, stage, interrupted)
    if message is None:  # a signal after the last case changes nothing
        evaluate_folders(*glands, tmp_path / "out", conventions=True)
        assert (tmp_path / "out" / "conventions.csv").is_file()
        return
    with pytest.raises(Stopped, match=message):
        evaluate_folders(*glands, tmp_path / "out", conventions=True)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_signal_stops_between_two_batches(
    glands: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = folders.score_conventions

    def interrupted(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return score(*arguments)

    monkeypatch.setattr(folders, "score_conventions", interrupted)
    with pytest.raises(Stopped, match="0 of 2 batches are scored, and no scores are written"):
        evaluate_folders(*glands, tmp_path / "out", conventions=True)
    assert list((tmp_path / "out").iterdir()) == []
