"""The evaluator's handler keeps views and calibration of every case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from torch import Tensor

from i2net_bundle.networks import I2Net
from i2net_bundle.prediction import SlicewiseInferer, WholeImageInferer
from i2net_bundle.reports import NetworkViews
from i2net_bundle.reports.views import WHOLE_IMAGE, load_views
from tests.networks.small_networks import small_i2net


def evaluate(network: I2Net, inferer: Any, images: list[Tensor], num_classes: int, output_dir: Path) -> list[Tensor]:
    """Evaluate images whose truth is 1 in the upper half; returns what was predicted."""
    items = []
    for number, image in enumerate(images):
        label = torch.zeros(image.shape, dtype=torch.uint8)
        label[:, : image.shape[1] // 2] = 1
        affine = torch.diag(torch.tensor([2.0, -1, 1, 1]))
        pair = {key: MetaTensor(value, affine=affine) for key, value in (("image", image), ("label", label))}
        items.append({**pair, "case": f"case {number}"})
    names = ["background", *(f"class {index}" for index in range(1, num_classes))]
    handler = NetworkViews(output_dir, network, inferer, names, calibration_slices=3)
    predictions: list[Tensor] = []
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=1),
        network=network,
        inferer=inferer,
        val_handlers=[handler],
    )
    evaluator.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: predictions.append(engine.state.output[0]["pred"])
    )
    evaluator.run()
    return predictions


def test_the_slices_with_most_classes_and_most_errors_are_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = small_i2net(3, 3)
    volumes = [torch.rand(1, 16, 24, 8), torch.rand(1, 16, 24, 2)]
    predictions = evaluate(network, SlicewiseInferer((16, 16), 2), volumes, 3, tmp_path)
    for number, prediction in enumerate(predictions):
        views = load_views(tmp_path / "views" / f"case {number}.npz")
        assert 1 <= len(views) <= 2
        truth = np.zeros(prediction.shape[1:], np.uint8)
        truth[:8] = 1
        errors = (np.asarray(prediction[0]) != truth).sum(axis=(0, 1))
        assert int(errors.argmax()) in {view.index for view in views}
        assert all(view.gates.shape == (3, 8, 8) for view in views)
        assert views[0].letters == ("A", "P")  # columns run along y, from anterior to posterior
        assert views[0].spacing == (2.0, 1.5)  # 16 rows of 2 stay, 24 columns of 1 become 16
    content = json.loads((tmp_path / "calibration.json").read_text())
    assert content["cases"] == 2 and "evenly spaced slices" in content["where"]
    assert content["all"]["pixels"] % 256 == 0
    assert sum(part["pixels"] for part in content["classes"].values()) == content["all"]["pixels"]
    assert 0 <= content["all"]["ece"] <= 1


@pytest.mark.parametrize("num_logits", [1, 2])
def test_images_are_kept_whole(num_logits: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    evaluate(small_i2net(2, num_logits), WholeImageInferer(), [torch.rand(1, 17, 23)], 2, tmp_path)
    (view,) = load_views(tmp_path / "views" / "case 0.npz")
    assert view.index == WHOLE_IMAGE and view.truth.shape == (17, 23)
    content = json.loads((tmp_path / "calibration.json").read_text())
    assert content["all"]["pixels"] == 17 * 23 and content["where"].startswith("whole images")


def test_the_same_network_is_as_calibrated_as_its_own_figures_say(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = small_i2net(2, 1)
    image = torch.rand(1, 16, 16)
    (prediction,) = evaluate(network, WholeImageInferer(), [image], 2, tmp_path)
    truth = np.zeros((16, 16), bool)
    truth[:8] = True
    content = json.loads((tmp_path / "calibration.json").read_text())
    counts = np.array(content["all"]["count"])
    right = np.nansum(np.array(content["all"]["accuracy"], float) * counts)
    assert right == pytest.approx(((np.asarray(prediction[0]) > 0) == truth).sum())
