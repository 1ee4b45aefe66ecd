"""A record has a strict schema: damage, values out of range and expressions are refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from i2net_bundle.labels import label_table
from i2net_bundle.workflow.run_records import RunRecord, run_record, write_record
from tests.workflow.records import write

CLASS = {"name": "spleen", "color": "#112233"}


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    record = run_record(write(tmp_path))
    write_record(record, tmp_path / "copy")
    copied = run_record(tmp_path / "copy" / "model.pt")
    assert copied.as_json() == record.as_json()
    assert (copied.classes, copied.network) == (record.classes, record.network)


def test_without_a_record_every_value_is_the_default(tmp_path: Path) -> None:
    record = run_record(tmp_path / "model.pt")
    assert record == RunRecord()
    assert record.value("image_size", [224, 224]) == [224, 224] and record.value("num_learners", 3) == 3


def test_recorded_values_replace_the_defaults(tmp_path: Path) -> None:
    record = run_record(write(tmp_path, training={"num_learners": 4}))
    assert record.value("image_size", [224, 224]) == [64, 64]
    assert record.value("divisor", 1) == 16 and record.value("num_learners", 3) == 4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"schema": 3}, "its schema is 3"),
        ({"task": "xray"}, "task must be one of ct, mr, histology"),
        ({"task": ["ct"]}, "task must be one of"),
        ({"surprise": 1}, "unknown keys surprise"),
        ({"image_size": [224]}, "image_size must be two whole numbers"),
        ({"image_size": [224, 1e9]}, "image_size must be two whole numbers"),
        ({"image_size": [True, True]}, "image_size must be two whole numbers"),
        ({"divisor": 0}, "divisor must be a whole number from 1"),
        ({"divisor": "16"}, "divisor must be a whole number from 1"),
        ({"ignore_id": 256}, "ignore_id must be a number from 0 to 255"),
        ({"label_values": "all"}, "label_values must be"),
        ({"channels": ["CT", 3]}, "channels must be a list of names"),
        ({"channels": ["a\nb"]}, "channels must be a list of names"),
        ({"classes": [CLASS] * 300}, "classes must be a list of at most 256"),
        ({"classes": [CLASS, CLASS]}, "two of its classes have the same name"),
        ({"classes": [{"name": "spleen"}]}, "class 0, 'spleen', has no color"),
        ({"classes": [CLASS | {"color": "red"}]}, "color of 'spleen' must be written #RRGGBB"),
        ({"classes": [CLASS | {"volume_ml": [1, "x"]}]}, "volume_ml of 'spleen'"),
        ({"classes": [CLASS | {"snomed": ["1"]}]}, "snomed of 'spleen'"),
        ({"classes": [CLASS | {"other": 1}]}, "a class has the unknown key 'other'"),
        ({"network": {"target": "os; rm", "arguments": {}}}, "network: target must be a path"),
        ({"network": {"target": "a.B", "arguments": {"x y": 1}}}, "network: arguments must be"),
        ({"network": {"target": "a.B", "arguments": {}, "more": 1}}, "network: unknown keys more"),
        ({"training": []}, "training must be an object"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_values_outside_the_schema_are_refused_by_name(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    weights = write(tmp_path, **changed)
    with pytest.raises(ValueError, match=rf"settings\.json is not a valid record of a run .*{said}"):
        run_record(weights)


@pytest.mark.parametrize("text", ["$__import__('os').system('x')", "@weights", "%run"])
@pytest.mark.parametrize(
    "place",
    [
        lambda text: {"task": text},
        lambda text: {"channels": [text]},
        lambda text: {"classes": [CLASS | {"name": text}]},
        lambda text: {"network": {"target": "monai.networks.nets.UNet", "arguments": {"norm": text}}},
        lambda text: {"network": {"target": "monai.networks.nets.UNet", "arguments": {"act": ["relu", {"a": text}]}}},
        lambda text: {"intensity": {"x": [text]}},
        lambda text: {"training": {"num_learners": text}},
        lambda text: {"training": {text: 1}},
    ],
    ids=["task", "channel", "class", "argument", "nested argument", "intensity", "setting", "key"],
)
def test_text_that_a_configuration_would_evaluate_is_refused(text: str, place: Any, tmp_path: Path) -> None:
    weights = write(tmp_path, **place(text))
    with pytest.raises(ValueError, match=r"settings\.json is not a valid record .*not allowed in a record"):
        run_record(weights)


@pytest.mark.parametrize("key", ["_target_", "_requires_", "_mode_"])
def test_markers_of_a_component_are_refused(key: str, tmp_path: Path) -> None:
    weights = write(tmp_path, training={"x": {key: "os.system", "command": "touch x"}})
    with pytest.raises(ValueError, match=f"contains the key '{key}'"):
        run_record(weights)


@pytest.mark.parametrize("content", ["", '{"network"', "[]", "{}", '{"network": 3}', "[" * 100_000])
def test_a_damaged_record_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(ValueError, match=r"settings\.json is not a valid record of a run .*Copy it again"):
        run_record(tmp_path / "model.pt")


class TestRecordsOfVersion1:
    def write(self, folder: Path, content: Any) -> Path:
        (folder / "settings.json").write_text(json.dumps(content))
        return folder / "model.pt"

    def test_classes_size_learners_and_task_are_read(self, tmp_path: Path) -> None:
        names = label_table("synapse").names
        network = {"class_names": names, "image_size": [64, 64], "intensity": {"class": "x"}}
        weights = self.write(tmp_path, {"network": network, "training": {"task": "synapse", "num_learners": 4}})
        record = run_record(weights)
        assert (record.task, record.image_size, record.value("num_learners", 3)) == ("ct", (64, 64), 4)
        assert [item.name for item in record.classes or ()] == names
        assert record.network is None and record.divisor is None

    def test_training_may_be_missing(self, tmp_path: Path) -> None:
        assert run_record(self.write(tmp_path, {"network": {"image_size": [64, 64]}})).image_size == (64, 64)

    @pytest.mark.parametrize("learners", [0, "3", 1e9, True])
    def test_learners_out_of_range_are_refused(self, learners: Any, tmp_path: Path) -> None:
        weights = self.write(tmp_path, {"network": {}, "training": {"num_learners": learners}})
        with pytest.raises(ValueError, match="num_learners must be a whole number from 1"):
            run_record(weights)
