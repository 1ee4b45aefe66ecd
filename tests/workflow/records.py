"""Records of runs to read and change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from i2net_bundle.data import DataDescription
from i2net_bundle.labels import classes_of
from i2net_bundle.transforms import volume_intensity
from i2net_bundle.workflow.run_settings import SettingsRecord

UNET = {
    "target": "monai.networks.nets.UNet",
    "arguments": {"spatial_dims": 2, "in_channels": 1, "out_channels": 3, "channels": [4, 8], "strides": [2]},
}
NAMES = ["background", "spleen", "tumour"]


def settings_record(folder: Path, resume: bool = False, **changed: Any) -> SettingsRecord:
    """A handler as in train.json, for a UNet with two classes."""
    arguments = {
        "task": "ct",
        "description": DataDescription(classes_of(NAMES), ("CT",), None, None),
        "network": UNET,
        "image_size": [64, 64],
        "divisor": 16,
        "intensity": volume_intensity(),
        "training": {"learning_rate": 0.1, "num_learners": 3},
        **changed,
    }
    return SettingsRecord(folder, resume=resume, **arguments)


def write(folder: Path, **changed: Any) -> Path:
    """Write a record with some keys changed; return the path of its weights."""
    content = settings_record(folder).record.as_json() | changed
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "model.pt"
