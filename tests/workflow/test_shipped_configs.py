"""The shipped workflows agree with each other and describe every block."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
WORKFLOWS = {
    name: json.loads((CONFIGS / name).read_text(encoding="utf-8"))
    for name in ("train.json", "evaluate.json", "inference.json")
}
DIFFERING = {
    "_desc_",
    "cases",
    "data_keys",
    "dataset_dir",
    "description",
    "evaluator",
    "handlers",
    "initialize",
    "output_dir",
    "postprocessing",
    "run",
    "weights",
}
"""Ids that differ between evaluation and inference: inputs, and the use of masks."""
EVERYWHERE = {
    "bundle_root",
    "channels",
    "class_names",
    "dataset_name",
    "device",
    "fast",
    "intensity",
    "label_table",
    "network_def",
    "num_channels",
    "num_classes",
    "out_channels",
    "preprocessing",
    "reading_options",
    "task",
}


def test_evaluation_and_inference_share_their_common_settings() -> None:
    evaluate, inference = WORKFLOWS["evaluate.json"], WORKFLOWS["inference.json"]
    shared = evaluate.keys() & inference.keys()
    assert {name for name in shared if evaluate[name] != inference[name]} == DIFFERING
    assert inference.keys() - evaluate.keys() == set()


@pytest.mark.parametrize("name", sorted(EVERYWHERE))
def test_all_workflows_preprocess_a_file_in_the_same_way(name: str) -> None:
    first, *others = (config[name] for config in WORKFLOWS.values())
    assert all(other == first for other in others)


@pytest.mark.parametrize("file", WORKFLOWS)
def test_every_block_has_a_description(file: str) -> None:
    def is_silent(value: Any) -> bool:
        parts = [value] if "_target_" in value or "_desc_" in value else value.values()
        return any("_desc_" not in part for part in parts)  # of metrics, which have names of their own, each one

    blocks = {name: value for name, value in WORKFLOWS[file].items() if isinstance(value, dict)}
    assert [name for name, value in blocks.items() if is_silent(value)] == []
