"""Weights are resumed and used only with the settings of their training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ignite.engine import Engine

from i2net_bundle.data import DataDescription
from i2net_bundle.labels import classes_of
from i2net_bundle.transforms import volume_intensity
from i2net_bundle.workflow.run_records import run_record
from i2net_bundle.workflow.run_settings import require_settings
from tests.workflow.records import NAMES, UNET, settings_record


def start(folder: Path, resume: bool = False, **changed: Any) -> None:
    engine = Engine(lambda *_: None)
    settings_record(folder, resume, **changed).attach(engine)
    engine.run([0])


def test_a_run_records_the_settings_for_its_weights(tmp_path: Path) -> None:
    start(tmp_path)
    record = run_record(tmp_path / "model.pt")
    assert (record.task, record.image_size, record.divisor, record.channels) == ("ct", (64, 64), 16, ("CT",))
    assert record.network is not None and record.network.target == UNET["target"]
    assert record.network.arguments == UNET["arguments"]
    assert record.classes == tuple(replace(item, positions=()) for item in classes_of(NAMES))  # of no class here
    assert record.training == {"learning_rate": 0.1, "num_learners": 3}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"training": {"learning_rate": 0.5}}, r"learning_rate 0\.1, here 0\.5"),
        ({"divisor": 32}, "divisor 16, here 32"),
        ({"network": UNET | {"target": "monai.networks.nets.BasicUNet"}}, "network .*UNet.*, here .*BasicUNet"),
        (
            {"description": DataDescription(classes_of([*NAMES[:2], "cyst"]), ("CT",), None, None)},
            'class_names .*"tumour".*, here .*"cyst"',
        ),
    ],
    ids=["learning rate", "divisor", "network", "classes"],
)
def test_a_run_is_resumed_with_its_own_settings_only(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    start(tmp_path)
    start(tmp_path, resume=True)
    with pytest.raises(ValueError, match=rf"{said}.*Resume with the same settings"):
        start(tmp_path, resume=True, **changed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"image_size": [224, 224]}, r"image_size \[64, 64\], here \[224, 224\]"),
        ({"intensity": volume_intensity((-100, 240))}, r"intensity .*-125.*, here .*-100"),
        ({"class_names": ["background", "liver"]}, r"class_names .*spleen.*, here .*liver"),
    ],
    ids=["input size", "window", "classes"],
)
def test_weights_are_not_used_with_other_settings(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    start(tmp_path)
    require_settings(tmp_path / "model.pt", {"image_size": [64, 64], "intensity": volume_intensity()})
    with pytest.raises(ValueError, match=rf"model\.pt was trained with {said}"):
        require_settings(tmp_path / "model.pt", changed)


@pytest.mark.parametrize(
    ("name", "recorded"),
    [("CT phantoms", "CT phantoms"), ("$x\x1b[2J@", "x[2J@"), (300 * "a", 200 * "a"), ("", None), (None, None)],
)
def test_a_run_records_the_name_of_its_training_data(name: str | None, recorded: str | None, tmp_path: Path) -> None:
    description = DataDescription(classes_of(NAMES), ("CT",), name=name)
    start(tmp_path, description=description)
    assert run_record(tmp_path / "model.pt").trained_on == recorded


def test_weights_without_a_record_are_used_unchecked(tmp_path: Path) -> None:
    require_settings(tmp_path / "model.pt", {"image_size": [224, 224]})


@pytest.mark.parametrize("name", ["$os.system('x')", "@weights", "%run"])
def test_a_class_name_that_a_record_cannot_hold_is_refused_at_the_start(name: str, tmp_path: Path) -> None:
    description = DataDescription(classes_of(["background", name]), ("CT",), None, None)
    with pytest.raises(ValueError, match="These settings cannot be recorded"):
        settings_record(tmp_path, description=description)
