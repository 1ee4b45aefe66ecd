"""Instances of touching glands, from training to the package, by the bundle's own workflows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import ConfigWorkflow
from PIL import Image

from i2net_bundle.cli import main
from i2net_bundle.data.phantoms import make_gland_phantoms
from i2net_bundle.evaluation.folders import evaluate_folders
from i2net_bundle.packaging import Weights, package_bundle
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.workflow.config_files import config_files

TRAINING = ("train.json", "histology.yaml", "histology_train.yaml", "glas_small.yaml", "glands.yaml")


def run(run_id: str, *files: str, **settings: Any) -> None:
    kind = "train" if files[0] == "train.json" else "infer"
    workflow = ConfigWorkflow(config_files(*files), workflow_type=kind, run_id=run_id, device="cpu", **settings)
    workflow.initialize()
    workflow.run()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of touching glands, and a run of one epoch on them that predicts contours."""
    folder = tmp_path_factory.mktemp("touching")
    make_gland_phantoms(folder / "data", 2, 1, 1, size=(96, 128), touching=True)
    small = {"image_size": [64, 64], "batch_size": 2, "epochs": 1, "val_interval": 1, "num_workers": 0}
    places = {"dataset_dir": str(folder / "data"), "output_dir": str(folder / "run")}
    options = {"separation": "contour", "encoder_weights": "none", "weight_average": 0.0, "amp": False}
    run("training", *TRAINING, **options, **small, **places)
    run("evaluating", "evaluate.json", "histology.yaml", **places)
    return folder


@pytest.mark.slow
def test_training_logs_the_term_and_records_what_separates_glands(folder: Path) -> None:
    header, values = (folder / "run" / "training.csv").read_text().splitlines()
    row = dict(zip(header.split(","), map(float, values.split(",")), strict=True))
    assert row["separation"] > 0 and 0 <= row["val_mean_dice"] <= 1
    parts = ("segmentation", "separation")
    assert row["loss"] == pytest.approx(sum(row[name] for name in parts), abs=0.2)  # the other weights are small
    record = json.loads((folder / "run" / "settings.json").read_text())
    assert record["training"]["separation"] == "contour" and record["network"]["arguments"]["out_channels"] == 2


@pytest.mark.slow
def test_evaluation_prediction_and_the_folder_of_masks_agree_without_an_overlay(folder: Path, tmp_path: Path) -> None:
    masks = folder / "run" / "evaluation" / "masks"
    assert {path.name for path in masks.iterdir()} == {"testA_1_mask.png", "testA_1_instances.png"}
    prediction = Predictor(folder / "run" / "model.pt", device="cpu").predict(folder / "data/images/testA_1.png")
    for name, own in (("mask", prediction.mask * 255), ("instances", prediction.instances)):
        assert np.array_equal(np.asarray(Image.open(masks / f"testA_1_{name}.png")), own)
    evaluate_folders(masks, folder / "data", tmp_path / "scores")
    tables = [path.read_text() for path in (folder / "run/evaluation/metrics.csv", tmp_path / "scores/metrics.csv")]
    assert tables[0] == tables[1]
    calibration = json.loads((folder / "run" / "evaluation" / "calibration.json").read_text())
    assert calibration["all"]["pixels"] == prediction.mask.size
    main(["report", str(folder / "run")])


@pytest.mark.slow
def test_a_package_predicts_the_same_and_goes_on_training_with_contours(folder: Path, tmp_path: Path) -> None:
    package = package_bundle("histology", tmp_path / "package", Weights(folder / "run" / "model.pt"))
    image = folder / "data" / "images" / "testA_1.png"
    own = Predictor(folder / "run" / "model.pt", device="cpu").predict(image)
    packaged = Predictor(bundle=package, device="cpu").predict(image)
    assert packaged.instances is not None and np.array_equal(packaged.instances, own.instances)
    training = json.loads((package / "configs" / "train.json").read_text())
    assert training["separation"] == "contour" and training["network_def"]["out_channels"] == 2
    pred = json.loads((package / "configs" / "metadata.json").read_text())["network_data_format"]["outputs"]["pred"]
    assert pred["num_channels"] == 2 and pred["channel_def"] == {"0": "gland", "1": "contour"}
