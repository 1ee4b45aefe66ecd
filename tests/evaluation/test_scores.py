"""Scores of an evaluator, and the tables written from them."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor, list_data_collate
from monai.engines import SupervisedEvaluator
from monai.metrics import DiceMetric
from torch.utils.data import DataLoader

from i2net_bundle.evaluation.classwise import ClasswiseMetric
from i2net_bundle.evaluation.scores import SegmentationScores, WriteScores
from i2net_bundle.evaluation.summary import table

CLASSES = ["background", "one", "two"]
SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def label(*ids: int) -> torch.Tensor:
    return torch.tensor(ids, dtype=torch.uint8).reshape(1, -1, 1, 1)


# truth and prediction of two cases of 4×1×1 voxels of 2 mm: the diagonal is √(64 + 4 + 4)
CASES = {
    "a.nii.gz": (label(1, 1, 2, 0), label(1, 0, 0, 0)),  # half of "one" found: Dice 2·1/(2+1); "two" missed
    "b.nii.gz": (label(1, 1, 0, 0), label(1, 1, 2, 0)),  # "one" exact; "two" invented
}
DIAGONAL = math.sqrt(72)


def run(folder: Path, num_workers: int = 0, **known: list[Any]) -> SupervisedEvaluator:
    items = []
    for number, (name, (truth, predicted)) in enumerate(CASES.items()):
        meta = {"filename_or_obj": f"/somewhere/{name}"}
        affine = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0]))
        tensors = {
            "image": MetaTensor(predicted.float(), affine=affine, meta=meta),
            "label": MetaTensor(truth, affine=affine, meta=meta),
        }
        items.append(tensors | {key: values[number] for key, values in known.items()})
    weights = folder / "model.pt"
    weights.write_bytes(b"abc")
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(items, batch_size=1, collate_fn=list_data_collate),
        network=torch.nn.Identity(),
        key_val_metric={"dice": ClasswiseMetric(DiceMetric(), 3)},  # MONAI requires a key metric
        additional_metrics={"scores": SegmentationScores(3, num_workers=num_workers)},
        val_handlers=[WriteScores(folder, CLASSES, weights)],
    )
    evaluator.run()
    return evaluator


@pytest.fixture
def summary(tmp_path: Path) -> dict[str, Any]:
    run(tmp_path)
    return json.loads((tmp_path / "summary.json").read_text())


def test_strict_means_penalize_missed_and_invented_classes(summary: dict[str, Any]) -> None:
    one, two = (summary["classes"][name] for name in ("one", "two"))
    assert one["strict_dice"]["mean"] == pytest.approx((2 / 3 + 1) / 2)
    assert two["strict_dice"]["mean"] == 0
    assert two["strict_hd95"]["mean"] == pytest.approx(DIAGONAL)
    # a: distances 0 one way, 0 and 2 mm the other (95th percentile 1.9); then the diagonal. b: 0 and the diagonal
    expected = ((1.9 + DIAGONAL) / 2 + (0 + DIAGONAL) / 2) / 2
    assert summary["mean"]["strict_hd95"]["mean"] == pytest.approx(expected)


def test_transunet_means_follow_its_rules(summary: dict[str, Any]) -> None:
    two = summary["classes"]["two"]
    assert (two["transunet_dice"]["mean"], two["transunet_hd95"]["mean"]) == (0.5, 0)  # (0, 0) and (1, 0)


def test_statistics_are_taken_over_cases(summary: dict[str, Any]) -> None:
    dice = summary["mean"]["strict_dice"]  # of the cases 1/3 and 1/2
    assert dice["n"] == 2 and dice["median"] == pytest.approx(5 / 12)
    assert dice["sd"] == pytest.approx(math.sqrt(2) / 12)  # |1/2 - 1/3| / √2
    assert dice["ci95"] is None  # of two cases
    assert summary["resampled"] == "cases"


def test_missed_and_invented_classes_are_counted(summary: dict[str, Any]) -> None:
    counts = {name: [summary["classes"][name][key] for key in ("missed", "invented", "absent")] for name in CLASSES[1:]}
    assert counts == {"one": [0, 0, 0], "two": [1, 1, 0]}


def test_intersection_over_union_is_pooled(summary: dict[str, Any]) -> None:
    # one: 3 of 4 voxels; two: 0 of 2; background: a 1 of 3, b 1 of 2
    assert summary["iou"]["classes"] == pytest.approx({"background": 2 / 5, "one": 3 / 4, "two": 0})
    assert summary["iou"]["mean"] == pytest.approx(23 / 60)


def test_weights_and_versions_are_recorded(summary: dict[str, Any]) -> None:
    assert summary["weights"] == {"file": "model.pt", "sha256": SHA256_OF_ABC}
    assert {"i2net_bundle", "torch", "monai", "numpy", "scipy"} == set(summary["versions"])


def test_every_case_and_class_has_a_row(tmp_path: Path) -> None:
    run(tmp_path)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = {(row["case"], row["class"]): row for row in csv.DictReader(file)}
    assert {key: row["status"] for key, row in rows.items()} == {
        ("a", "one"): "found",
        ("a", "two"): "missed",
        ("b", "one"): "found",
        ("b", "two"): "invented",
    }
    assert rows["a", "one"]["distance_unit"] == "mm" and rows["a", "one"]["label_voxels"] == "2"
    assert float(rows["a", "one"]["volume_difference_ml"]) == pytest.approx(-0.008)


def test_processes_give_the_same_scores(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder, num_workers in zip(folders, (0, 1), strict=True):
        folder.mkdir()
        run(folder, num_workers)
    assert (folders[0] / "metrics.csv").read_text() == (folders[1] / "metrics.csv").read_text()


def test_patients_and_parts_are_kept(tmp_path: Path) -> None:
    run(tmp_path, patient=[3, 3], part=["testA", "testB"])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["resampled"] == "patients" and summary["mean"]["strict_dice"]["ci95"] is None  # one patient
    assert summary["parts"]["testA"]["strict_dice"]["mean"] == pytest.approx(1 / 3)
    assert "mean of testB" in table(summary)


def test_the_evaluator_gets_the_means(tmp_path: Path) -> None:
    metrics = run(tmp_path).state.metrics
    assert metrics["strict_dice"] == pytest.approx(5 / 12)
    assert all(isinstance(value, float) for value in metrics.values())


def test_the_table_names_every_class_and_the_mean(summary: dict[str, Any]) -> None:
    lines = table(summary).splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "class",
        "one",
        "two",
        "mean of 2 cases",
        "95 % interval (cases)",
        "An interval needs at least 6 cases with a value.",
        "mIoU over all cases together: 0.383 (background 0.400, one 0.750, two 0.000)",
    ]
    assert set(lines[-2].split("  ")[1:]) <= {"", "none", " none"}


def test_the_table_gives_the_unit_of_every_distance(summary: dict[str, Any]) -> None:
    header = table(summary).splitlines()[0]
    assert "strict_hd95, mm  " in header and "transunet_hd95, voxels  " in header
    assert "volume_difference_ml  " in header and "strict_dice  " in header


def test_the_table_s_miou_marks_classes_in_neither_mask(summary: dict[str, Any]) -> None:
    summary["iou"]["classes"]["two"] = None
    assert table(summary).endswith("(background 0.400, one 0.750, two -)")
