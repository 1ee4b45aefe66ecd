"""Weights are resumed and used with the settings they were made with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ignite.engine import Engine

from i2net_bundle.transforms import volume_intensity
from i2net_bundle.workflow.run_settings import SettingsRecord, recorded_settings, require_settings


def start(
    folder: Path, resume: bool = False, image_size: Any = (64, 64), window: Any = (-125, 275), lr: float = 0.1
) -> None:
    engine = Engine(lambda *_: None)
    network = {"image_size": [64, 64], "intensity": volume_intensity()}
    SettingsRecord(folder, network, {"learning_rate": lr}, resume).attach(engine)
    engine.run([0])


def test_a_run_keeps_its_settings(tmp_path: Path) -> None:
    start(tmp_path)
    saved = json.loads((tmp_path / "settings.json").read_text())
    assert saved["network"]["image_size"] == [64, 64]
    assert saved["training"] == {"learning_rate": 0.1}


def test_a_run_is_resumed_with_its_own_settings_only(tmp_path: Path) -> None:
    start(tmp_path)
    start(tmp_path, resume=True)
    with pytest.raises(ValueError, match=r"learning_rate 0\.1, here 0\.5\. Resume with the same settings"):
        start(tmp_path, resume=True, lr=0.5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"image_size": [224, 224]}, r"image_size \[64, 64\], here \[224, 224\]"),
        ({"intensity": volume_intensity((-100, 240))}, r"intensity .*-125.*, here .*-100"),
    ],
    ids=["input size", "window"],
)
def test_weights_are_not_used_with_other_settings(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    start(tmp_path)
    require_settings(tmp_path / "model.pt", {"image_size": [64, 64], "intensity": volume_intensity()})
    with pytest.raises(ValueError, match=rf"model\.pt was trained with {said}"):
        require_settings(tmp_path / "model.pt", changed)


def test_weights_without_a_record_are_taken_as_they_are(tmp_path: Path) -> None:
    require_settings(tmp_path / "model.pt", {"image_size": [224, 224]})


def test_a_record_may_say_nothing_of_training(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"network": {"image_size": [64, 64]}}')
    assert recorded_settings(tmp_path / "model.pt") == {"image_size": [64, 64]}


@pytest.mark.parametrize("content", ["", '{"network"', "[]", "{}", '{"network": 3}'])
def test_a_damaged_record_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(content)
    for read in (recorded_settings, lambda weights: require_settings(weights, {})):
        with pytest.raises(ValueError, match=r"settings\.json is no record of a run's settings .*Copy it again"):
            read(tmp_path / "model.pt")
