"""The table of scores says which values are undefined and which classes were missed or invented."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator
from monai.metrics import DiceMetric, HausdorffDistanceMetric
from torch.utils.data import DataLoader

from i2net_bundle.metrics import CaseScores, ClasswiseMetric
from i2net_bundle.metrics.scores import table

CLASSES = ["background", "one", "two"]


def label(*ids: int) -> torch.Tensor:
    return torch.tensor(ids).reshape(1, 1, -1)


# truth and prediction of two cases on a 1×4 grid
CASES = {
    "a.nii.gz": (label(1, 1, 2, 0), label(1, 0, 0, 0)),  # "one" half found: Dice 2·1/(2+1); "two" missed: 0
    "b.nii.gz": (label(1, 1, 0, 0), label(1, 1, 2, 0)),  # "one" exact; "two" invented: undefined
}


@pytest.fixture
def summary(tmp_path: Path) -> dict:
    items = []
    for name, (truth, predicted) in CASES.items():
        meta = {"filename_or_obj": f"/somewhere/{name}"}
        items.append({"image": MetaTensor(predicted.float(), meta=meta), "label": MetaTensor(truth, meta=meta)})
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"abc")
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(items, batch_size=1, collate_fn=_collate),
        network=torch.nn.Identity(),
        key_val_metric={"dice": ClasswiseMetric(DiceMetric(), 3)},
        additional_metrics={
            "hd95": ClasswiseMetric(HausdorffDistanceMetric(include_background=True, percentile=95), 3)
        },
        val_handlers=[CaseScores(tmp_path, CLASSES, weights)],
    )
    evaluator.run()
    return json.loads((tmp_path / "summary.json").read_text())


def _collate(items: list) -> dict:
    from monai.data import list_data_collate

    return list_data_collate(items)


def test_means_leave_out_what_is_undefined(summary: dict) -> None:
    assert summary["classes"]["one"]["dice"] == pytest.approx((2 / 3 + 1) / 2)
    assert summary["classes"]["two"]["dice"] == 0.0
    assert summary["mean"]["dice"] == pytest.approx(((2 / 3 + 0) / 2 + 1) / 2)  # per case, then over cases


def test_missed_and_invented_classes_are_counted(summary: dict) -> None:
    assert (summary["classes"]["two"]["missed"], summary["classes"]["two"]["invented"]) == (1, 1)
    assert (summary["classes"]["one"]["missed"], summary["classes"]["one"]["invented"]) == (0, 0)


def test_undefined_values_are_empty_in_csv_and_null_in_json(summary: dict, tmp_path: Path) -> None:
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = {(row["case"], row["class"]): row for row in csv.DictReader(file)}
    assert len(rows) == 4
    assert rows["b", "two"]["dice"] == "" and rows["b", "two"]["pred_voxels"] == "1"
    assert summary["per_case"]["b"]["two"] == {"dice": None, "hd95": None}
    # the truth's two voxels lie 0 and 1 from the predicted one: 95th percentile 0.95; the other direction is 0
    assert float(rows["a", "one"]["hd95"]) == pytest.approx(0.95)


def test_weights_are_recorded_by_hash(summary: dict) -> None:
    sha256_of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert summary["weights"] == {"file": "model.pt", "sha256": sha256_of_abc}


def test_the_table_names_every_class_and_the_mean(summary: dict) -> None:
    lines = table(summary).splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "class",
        "one",
        "two",
        "mean of 2 cases",
        "distances in mm",
    ]
    assert len({len(line) for line in lines[:-1]}) == 1
