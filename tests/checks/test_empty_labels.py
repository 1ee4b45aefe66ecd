"""Labels that are all empty are reported once; some empty labels among others are common."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2net_bundle.checks.cases import CheckedCases
from i2net_bundle.checks.dataset import check_path
from i2net_bundle.io.options import HistologyOptions
from tests.checks.ct_files import hu_volume, label_volume, save


def data_set(folder: Path, empty: int, cases: int = 3, volumes: bool = True) -> Path:
    listed = []
    for number in range(cases):
        names = [f"{kind}{number}{'.nii.gz' if volumes else '.png'}" for kind in ("image", "label")]
        label = label_volume() * (number >= empty)
        if volumes:
            save(folder / names[0], hu_volume() + number)
            save(folder / names[1], label.astype(np.uint8))
        else:
            pixels = np.random.default_rng(number).integers(90, 250, (8, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / names[0])
            Image.fromarray((pixels[..., 0] > 170).astype(np.uint8) * (number >= empty)).save(folder / names[1])
        listed.append(dict(zip(("image", "label"), names, strict=True)))
    labels = {
        "0": "background",
        **{str(number): f"class {number}" for number in range(1, 1 + int(label_volume().max()))},
    }
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "training": listed}))
    return folder


@pytest.mark.parametrize("volumes", [True, False], ids=["volumes", "images"])
def test_labels_that_are_all_empty_are_one_warning(volumes: bool, tmp_path: Path) -> None:
    (found,) = check_path(data_set(tmp_path, empty=3, volumes=volumes)).findings
    assert found.problem == "contains only background, and so do all 3 labels of its list"
    assert Path(found.file).name == f"label0{'.nii.gz' if volumes else '.png'}"


@pytest.mark.parametrize("volumes", [True, False], ids=["volumes", "images"])
def test_some_empty_labels_are_not_reported(volumes: bool, tmp_path: Path) -> None:
    assert check_path(data_set(tmp_path, empty=2, volumes=volumes)).findings == []


def test_training_reports_empty_labels_too(tmp_path: Path) -> None:
    data_set(tmp_path, empty=2, cases=2, volumes=False)
    cases = [{kind: str(tmp_path / f"{kind}{number}.png") for kind in ("image", "label")} for number in range(2)]
    (found,) = CheckedCases(cases, HistologyOptions()).findings
    assert found.problem.startswith("contains only background")


def test_an_empty_annotation_of_a_single_image_is_reported(tmp_path: Path) -> None:
    Image.new("RGB", (8, 9), (200, 150, 180)).save(tmp_path / "a.png")
    Image.new("L", (8, 9)).save(tmp_path / "a_anno.png")
    (found,) = check_path(tmp_path).findings
    assert found.problem == "contains only background"
