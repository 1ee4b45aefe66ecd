"""The recipe for Cityscapes, from street phantoms to mIoU, through the shipped overlays."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image

from i2net_bundle.data.phantoms import make_street_phantoms
from i2net_bundle.losses import OhemCrossEntropyLoss
from i2net_bundle.metrics import confusion_matrix, intersection_over_union
from i2net_bundle.networks import ResNetEncoder
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.prepare import prepare_cityscapes

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SHARED = ("histology.yaml", "cityscapes.yaml")
TRAIN = ("train.json", "histology.yaml", "histology_train.yaml", "cityscapes.yaml", "cityscapes_train.yaml")
SIZE = (64, 96)
NARROW = "network_def:\n  _target_: i2net_bundle.networks.glas_i2net\n  num_learners: 2\n  out_channels: 19\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Street phantoms, prepared as Cityscapes."""
    folder = tmp_path_factory.mktemp("streets")
    make_street_phantoms(folder / "raw", 3, 2, 1, SIZE)
    return prepare_cityscapes(folder / "raw", folder / "data").parent


def paths(*names: str) -> list[str]:
    return [str(CONFIGS / name) for name in names]


def run(workflow_type: str, run_id: str, files: list[str], overrides: Mapping[str, Any]) -> None:
    workflow = ConfigWorkflow(files, workflow_type=workflow_type, run_id=run_id, logging_file=False, **overrides)
    workflow.initialize()
    workflow.run()
    workflow.finalize()


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps with a narrower network, and its evaluation on the validation scenes."""
    folder = tmp_path_factory.mktemp("run")
    narrow = folder / "narrow.yaml"
    narrow.write_text(NARROW)
    common = {"dataset_dir": str(data), "output_dir": str(folder / "run"), "device": "cpu", "num_workers": 0}
    small = {"image_size": [33, 33], "batch_size": 2, "epochs": 1, "val_interval": 1}
    run("train", "training", [*paths(*TRAIN), str(narrow)], {**common, **small})
    evaluation = [*paths("evaluate.json", *SHARED), str(narrow)]
    run("infer", "evaluating", evaluation, {**common, "split": "validation"})
    return folder / "run"


def test_a_run_records_the_auxiliary_loss_and_the_validation_s_miou(trained: Path) -> None:
    with (trained / "training.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["steps"] == "2" and float(row["learning_rate"]) == 0.1
    assert {"segmentation", "auxiliary", "learner_orthogonalization", "val_mean_iou"} <= row.keys()
    expected = float(row["segmentation"]) + 0.4 * float(row["auxiliary"])
    expected += 0.25 * (float(row["gate_instance_sharpening"]) + 0.5 * float(row["gate_expectation_smoothing"]))
    assert float(row["loss"]) == pytest.approx(expected + 0.25 * float(row["learner_orthogonalization"]), rel=1e-3)


def test_the_weights_hold_no_auxiliary_head_and_the_checkpoint_does(trained: Path) -> None:
    weights = torch.load(trained / "model.pt", weights_only=True)
    assert {name.partition(".")[0] for name in weights} == {"encoder", "neck", "decoder", "head"}
    checkpoint = torch.load(trained / "checkpoints" / "epoch_0001.pt", weights_only=True)
    assert checkpoint["auxiliary_head"]["layers.3.weight"].shape == (19, 64, 1, 1)
    settings = json.loads((trained / "settings.json").read_text())
    assert settings["ignore_id"] == 255 and settings["divisor"] == 1
    assert settings["trained_on"] == "Street phantoms"
    assert settings["training"]["auxiliary_weight"] == 0.4


def test_evaluation_reports_the_miou_of_the_saved_masks_without_ignored_pixels(trained: Path, data: Path) -> None:
    summary = json.loads((trained / "evaluation" / "summary.json").read_text())
    confusion, ignored = np.zeros((19, 19), np.int64), 0
    for path in sorted((trained / "evaluation" / "masks").glob("*_mask.png")):
        label = np.asarray(Image.open(data / "labels" / path.name.replace("_mask", "")))
        confusion += confusion_matrix(np.asarray(Image.open(path)), label, 19, ignore_index=255)
        ignored += int((label == 255).sum())
    assert ignored > 0 and confusion.sum() == 2 * SIZE[0] * SIZE[1] - ignored
    expected = intersection_over_union(confusion)
    assert summary["iou"]["mean"] == pytest.approx(np.nanmean(expected))
    assert len(summary["iou"]["classes"]) == 19
    assert summary["iou"]["classes"]["road"] == pytest.approx(expected[0])


@pytest.fixture(scope="module")
def parser(data: Path) -> ConfigParser:
    """The configuration of training, with the shipped overlays alone."""
    parser = ConfigParser()
    parser.read_config(paths(*TRAIN))
    parser["dataset_dir"] = str(data)
    parser["device"] = "cpu"
    return parser


@pytest.mark.parametrize("window", [None, [33, 33]], ids=["whole image", "sliding window"])
def test_the_weights_predict_scenes_whole_and_in_windows(trained: Path, data: Path, window: list[int] | None) -> None:
    overrides = {} if window is None else {"inferer::window": window}
    predictor = Predictor(trained / "model.pt", overrides=overrides, device="cpu")
    seen: list[tuple[int, ...]] = []
    predictor.network.register_forward_pre_hook(lambda _module, inputs: seen.append(tuple(inputs[0].shape[2:])))
    image = next(iter(sorted((data / "images").glob("*.png"))))
    mask = predictor.predict(str(image)).mask
    assert mask.shape == SIZE and mask.max() < 19
    assert set(seen) == {SIZE if window is None else (33, 33)}


class TestRecipe:
    """The overlays hold the published settings."""

    def test_the_optimizer_has_two_rates_and_holds_the_auxiliary_head(self, parser: ConfigParser) -> None:
        optimizer, network = parser.get_parsed_content("optimizer"), parser.get_parsed_content("network")
        rest, encoder = optimizer.param_groups
        assert (rest["lr"], encoder["lr"]) == pytest.approx((0.1, 0.01))
        assert {(group["momentum"], group["weight_decay"]) for group in optimizer.param_groups} == {(0.9, 5e-4)}
        assert {id(item) for item in encoder["params"]} == {id(item) for item in network.encoder.parameters()}
        head = parser.get_parsed_content("auxiliary_head")
        assert {id(item) for item in head.parameters()} <= {id(item) for item in rest["params"]}
        assert head.layers[0].in_channels == ResNetEncoder(50).level_channels[2] == 1024

    def test_losses_and_sizes(self, parser: ConfigParser) -> None:
        loss = parser.get_parsed_content("loss")
        assert isinstance(loss.segmentation, OhemCrossEntropyLoss)
        assert (loss.segmentation.threshold, loss.segmentation.min_kept) == (0.7, 100_000)
        assert loss.segmentation.ignore_index == 255
        assert (loss.auxiliary_weight, loss.lambda_gs, loss.lambda_ges, loss.lambda_lo) == (0.4, 0.25, 0.5, 0.25)
        assert parser["image_size"] == [769, 769] and parser["batch_size"] == 8
        assert parser.get_parsed_content("out_channels") == 19

    def test_a_crop_is_not_padded(self, parser: ConfigParser) -> None:
        inferer = parser.get_parsed_content("train::inferer")
        assert inferer(torch.zeros(1, 1, 769, 769), lambda images: images).shape == (1, 1, 769, 769)
        assert inferer.divisor == 1
