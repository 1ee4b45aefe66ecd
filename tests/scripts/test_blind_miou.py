"""Guesses that do not look at the image, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.blind_miou import blind_mious


def test_guesses_come_from_training_labels_and_are_scored_on_the_others(tmp_path: Path) -> None:
    labels = {"a": [[0, 0], [1, 255]], "b": [[0, 0], [1, 2]], "c": [[0, 1], [1, 2]]}
    for number, (name, label) in enumerate(labels.items()):
        Image.fromarray(np.array(label, np.uint8)).save(tmp_path / f"{name}.png")
        Image.fromarray(np.full((2, 2, 3), number, np.uint8)).save(tmp_path / f"{name}_image.png")
    cases = [{"image": f"./{name}_image.png", "label": f"./{name}.png"} for name in labels]
    content = {"labels": {"0": "x", "1": "y", "2": "z"}, "ignore_id": 255, "label_values": "classes"}
    (tmp_path / "dataset.json").write_text(
        json.dumps(
            content | {"modality": {"0": "R", "1": "G", "2": "B"}, "training": cases[:2], "validation": cases[2:]}
        )
    )
    # truth 0 1 1 2. All 0: IoU 1/4, 0, 0. By position 0 0 1 2: IoU 1/2, 1/2, 1
    assert list(blind_mious(tmp_path).values()) == pytest.approx([1 / 12, 2 / 3])
