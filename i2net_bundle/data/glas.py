"""The GlaS challenge's own files: patients and grades of its images, and a data list that keeps patients apart."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection
from pathlib import Path

VALIDATION_PATIENTS = (3, 4, 7, 8, 13)
"""Patients of the training part whose images validate: 18 images, 9 benign and 9 malignant; the other 67 train."""

_EXTENSIONS = (".bmp", ".png")


def read_patients(grade_csv: str | Path) -> dict[str, int]:
    """Patient of every image, from the challenge's ``Grade.csv`` with any line ends.

    Args:
        grade_csv: the file.

    Returns:
        image name without extension ("train_1") to patient id.

    Raises:
        ValueError: the file has no columns "name" and "patient ID".
    """
    text = Path(grade_csv).read_text(encoding="utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    rows = [{key.strip(): (value or "").strip() for key, value in row.items() if key} for row in _dicts(text)]
    if not rows or not {"name", "patient ID"} <= rows[0].keys():
        raise ValueError(f"{grade_csv}: columns 'name' and 'patient ID' expected, as in the challenge's Grade.csv.")
    return {row["name"]: int(row["patient ID"]) for row in rows if row["name"]}


def write_datalist(
    folder: str | Path, out_dir: str | Path, validation_patients: Collection[int] = VALIDATION_PATIENTS
) -> Path:
    """Write ``dataset.json`` for the challenge's folder, the training part split by patient.

    Args:
        folder: holds ``train_1.bmp`` (or ``.png``), ``train_1_anno.bmp``, …, ``testA_1…``, ``testB_1…``, ``Grade.csv``.
        out_dir: where ``dataset.json`` is written; the images stay where they are.
        validation_patients: whose training images validate instead.

    Returns:
        path of ``dataset.json``; test parts that the folder lacks are left out, and without any the validation images
        serve as "test" too.

    Raises:
        FileExistsError: ``dataset.json`` exists.
        FileNotFoundError: the folder has no training images, or an annotation is missing.
        ValueError: ``Grade.csv`` is not the challenge's.
    """
    folder, target = Path(folder).resolve(), Path(out_dir) / "dataset.json"
    if target.exists():
        raise FileExistsError(f"{target} exists. Choose another folder, or delete it first.")
    splits: dict[str, list[dict[str, str]]] = {"training": [], "validation": [], "test": []}
    for name, patient in read_patients(folder / "Grade.csv").items():
        image = next((path for path in (folder / f"{name}{end}" for end in _EXTENSIONS) if path.is_file()), None)
        if image is None:
            continue
        annotation = image.with_name(f"{name}_anno{image.suffix}")
        if not annotation.is_file():
            raise FileNotFoundError(f"{annotation} is missing; every image needs its annotation beside it.")
        split = "test" if name.startswith("test") else "training"
        if split == "training" and patient in validation_patients:
            split = "validation"
        splits[split].append({"image": str(image), "label": str(annotation)})
    if not splits["training"]:
        raise FileNotFoundError(f"No training image of Grade.csv in {folder} (train_1.bmp or train_1.png, …).")
    splits["test"] = splits["test"] or splits["validation"]
    target.parent.mkdir(parents=True, exist_ok=True)
    contents = {"name": "GlaS", "labels": {"0": "background", "1": "gland"}, **splits}
    target.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
    return target


def _dicts(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))
