"""Small sources in the form of the GlaS challenge's download."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from i2net_bundle.prepare.glas import Grade, prepare_glas

HEADER = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"
LISTED = {
    "testA_1": Grade(4, "benign"),
    "testB_1": Grade(2, "malignant"),
    "train_1": Grade(2, "malignant"),
    "train_10": Grade(3, "benign"),
    "train_2": Grade(3, "benign"),
    "train_3": Grade(5, "malignant"),
}
IDS = np.array([[0, 1, 1, 0], [0, 2, 0, 7]], np.uint8)


def picture(name: str) -> np.ndarray:
    """2 × 4 pixels of noise, another for every name."""
    return np.random.default_rng(list(name.encode())).integers(0, 256, (2, 4, 3), dtype=np.uint8)


def write_grades(folder: Path, grades: Mapping[str, Grade], line_end: str = "\r") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [HEADER, *(f"{name},{case.patient}, {case.grade}, healthy" for name, case in grades.items())]
    (folder / "Grade.csv").write_bytes(line_end.join(rows).encode())
    return folder / "Grade.csv"


def write_source(folder: Path, grades: Mapping[str, Grade] = LISTED, suffix: str = ".bmp") -> Path:
    """The challenge's folder with ``picture`` and ``IDS`` for every name."""
    write_grades(folder, grades)
    for name in grades:
        Image.fromarray(picture(name)).save(folder / f"{name}{suffix}")
        Image.fromarray(IDS).save(folder / f"{name}_anno{suffix}")
    return folder


def prepare(source: Path, out_dir: Path, num_folds: int = 2, **options: Any) -> Path:
    """Prepare with the two folds that three training patients allow; returns the folder."""
    return prepare_glas(source, out_dir, num_folds=num_folds, **options).parent


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def names(folder: Path, file: str) -> dict[str, list[str]]:
    """Split to image names of one data list."""
    content = json.loads((folder / file).read_text())
    return {
        key: [Path(case["image"]).stem for case in value] for key, value in content.items() if isinstance(value, list)
    }
