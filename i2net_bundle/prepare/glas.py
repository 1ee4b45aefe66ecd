"""Prepare the GlaS challenge's files (Warwick-QU, MICCAI 2015): images, gland instances and data lists.

The official split, ``dataset.json``, shares patients between its parts; ``patient_split.json`` and the cross-validation
folds do not.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold

from i2net_bundle.checks.histology import TRAINING_UM_PER_PX
from i2net_bundle.io.findings import DataError, Finding, error
from i2net_bundle.io.writing import file_sha256, staged_folder
from i2net_bundle.labels import label_table
from i2net_bundle.prepare.manifest import Manifest
from i2net_bundle.prepare.pictures import read_pair
from i2net_bundle.prepare.sources import logger, one_at_a_time, opened_source, require_complete, settle_findings
from i2net_bundle.workflow.stopping import graceful_stop

VALIDATION_PATIENTS = (3, 4, 7, 8, 13)
"""Patients of the training part held out for validation: 18 images, 9 benign and 9 malignant; the other 67 train."""

LICENCE = "research only, no commercial use (GlaS, University of Warwick)"
"""Terms of the data, which the records of weights trained on them repeat."""

_NAME = re.compile(r"(train|testA|testB)_\d+")
_COLUMNS = ("name", "patient ID", "grade (GlaS)")
_GRADES = ("benign", "malignant")
_SUFFIXES = (".bmp", ".png")


class Grade(NamedTuple):
    """Patient and grade ("benign" or "malignant") of one image."""

    patient: int
    grade: str


def prepare_glas(source: str | Path, out_dir: str | Path, *, num_folds: int = 5, allow_missing: bool = False) -> Path:
    """Verify the challenge's files and write them as a data set.

    It contains ``images/NAME.png``, ``labels/NAME.png`` (instance ids as annotated), the official split
    ``dataset.json``, ``patient_split.json``, ``fold_0.json``, … and ``manifest.json``.

    Args:
        source: folder or archive with ``Grade.csv`` and beside it ``train_1.bmp`` (or ``.png``), ``train_1_anno.bmp``,
            ``testA_1…``, ``testB_1…``.
        out_dir: folder to write, absent or empty.
        num_folds: folds of cross-validation over the training images.
        allow_missing: continue without images that are missing or unusable; the latter are listed in
            ``failed.csv``.

    Returns:
        path of ``dataset.json``.

    Raises:
        DataError: files cannot be used; names all of them.
        FileExistsError: ``out_dir`` is not empty.
        FileNotFoundError: there is no ``Grade.csv`` or no training image, or images are missing.
        ValueError: there are fewer patients than folds, or several ``Grade.csv``.
    """
    with graceful_stop(), staged_folder(out_dir) as target, opened_source(source, target) as folder:
        grade_csv = _find_grade_csv(folder, source)
        files = _pictures_beside(grade_csv)
        listed = read_grades(grade_csv)
        grades = {name: grade for name, grade in listed.items() if name in files}
        if not _of(grades, "train"):
            raise FileNotFoundError(
                f"No training image (train_1.bmp or train_1.png, …) beside Grade.csv in {source}. Pass the challenge's "
                "whole folder or archive."
            )
        require_complete(source, [name for name in listed if name not in files], allow_missing)
        if unlisted := [path.name for stem, path in files.items() if stem.removesuffix("_anno") not in listed]:
            logger.warning("%s: left out, not in Grade.csv: %s.", source, ", ".join(unlisted))
        manifest = Manifest("glas", {"num_folds": num_folds, "allow_missing": allow_missing})
        findings = _convert(files, grades, target, manifest)
        settle_findings(findings, allow_missing, target)
        converted = {name: grade for name, grade in grades.items() if name in manifest.cases}
        for file, content in _data_lists(converted, num_folds).items():
            (target / file).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        manifest.write(target)
    return Path(out_dir, "dataset.json")


def read_grades(grade_csv: str | Path) -> dict[str, Grade]:
    """Patient and grade of every image, from the challenge's ``Grade.csv``, with any line endings.

    Args:
        grade_csv: the file.

    Returns:
        image name without extension ("train_1") to patient and grade, in the file's order.

    Raises:
        DataError: the file lacks a column, or a row does not name an image, a patient and a grade.
    """
    # the challenge's file has CR line endings and spaces after commas; text mode makes all line endings LF
    text = Path(grade_csv).read_text(encoding="utf-8-sig", errors="replace")
    rows = [[field.strip() for field in row] for row in csv.reader(text.splitlines())]
    header = rows[0] if rows else []
    remedy = "Take the Grade.csv that came with the images."
    if not set(_COLUMNS) <= set(header):
        columns = ", ".join(f"'{name}'" for name in _COLUMNS)
        raise DataError([error("grade-columns", grade_csv, f"columns {columns} expected", remedy)])
    grades = {}
    for row in filter(None, rows[1:]):
        fields = dict(zip(header, row, strict=False))
        name, patient, grade = (fields.get(column, "") for column in _COLUMNS)
        if not (_NAME.fullmatch(name) and patient.isdecimal() and grade in _GRADES):
            problem = f"row '{','.join(row)}' is not image, patient number, benign or malignant"
            raise DataError([error("grade-row", grade_csv, problem, remedy)])
        grades[name] = Grade(int(patient), grade)
    return grades


def patient_folds(grades: Mapping[str, Grade], num_folds: int) -> list[list[str]]:
    """Split images into cross-validation folds: no patient in two folds, grades balanced.

    Args:
        grades: image names to patients and grades.
        num_folds: number of folds, at least 2.

    Returns:
        validation images of each fold, in the order of ``grades``; every name once. Deterministic.

    Raises:
        ValueError: there are fewer patients, or fewer images of the commoner grade, than folds.
    """
    names = np.array(list(grades))
    patients, labels = zip(*grades.values(), strict=True)
    num_patients, num_commoner = len(set(patients)), max(Counter(labels).values())
    if not 2 <= num_folds <= min(num_patients, num_commoner):
        raise ValueError(
            f"{len(names)} training images of {num_patients} patients, {num_commoner} of the commoner grade, do not "
            f"give {num_folds} folds. Choose another number with --folds (at least 2), or add the missing images."
        )
    splits = StratifiedGroupKFold(num_folds).split(names, labels, patients)
    return [names[validation].tolist() for _, validation in splits]


def _find_grade_csv(folder: Path, source: str | Path) -> Path:
    # archives packed on macOS also contain __MACOSX/._Grade.csv
    found = [path for path in sorted(folder.rglob("Grade.csv")) if "__MACOSX" not in path.parts]
    if not found:
        raise FileNotFoundError(f"No Grade.csv in {source}. Pass the challenge's folder or archive as distributed.")
    if len(found) > 1:
        places = ", ".join(str(path.relative_to(folder)) for path in found)
        raise ValueError(f"{source} contains several Grade.csv ({places}). Pass the folder of one of them.")
    return found[0]


def _pictures_beside(grade_csv: Path) -> dict[str, Path]:
    """Stem ("train_1", "train_1_anno") to file."""
    files: dict[str, Path] = {}
    findings = []
    for path in sorted(grade_csv.parent.glob("[!.]*")):
        if path.suffix.lower() not in _SUFFIXES:
            continue
        if path.stem in files:
            findings.append(error("twice", path, f"{files[path.stem].name} is there too", "Keep one of the two."))
        files[path.stem] = path
    if findings:
        raise DataError(findings)
    return files


def _of(grades: Mapping[str, Grade], *parts: str) -> list[str]:
    """Names of the images of the parts "train", "testA", "testB"."""
    return [name for name in grades if name.split("_")[0] in parts]


def _data_lists(grades: Mapping[str, Grade], num_folds: int) -> dict[str, dict[str, object]]:
    """Contents of every data list by file name; empty splits are omitted."""
    training = _of(grades, "train")
    tests = {"testA": _of(grades, "testA"), "testB": _of(grades, "testB"), "test": _of(grades, "testA", "testB")}
    held_out = [name for name in training if grades[name].patient in VALIDATION_PATIENTS]

    def without(validation: list[str]) -> list[str]:
        return [name for name in training if name not in validation]

    splits: dict[str, dict[str, list[str]]] = {
        "dataset.json": {"training": training, **tests},
        "patient_split.json": {"training": without(held_out), "validation": held_out, **tests},
    }
    for fold, validation in enumerate(patient_folds({name: grades[name] for name in training}, num_folds)):
        splits[f"fold_{fold}.json"] = {"training": without(validation), "validation": validation}
    header = {
        "name": "GlaS",
        "labels": {str(index): name for index, name in enumerate(label_table("glas").names)},
        "label_values": "instances",
        "um_per_px": TRAINING_UM_PER_PX,
        "licence": LICENCE,
    }
    return {
        file: header
        | {split: [_entry(name, grades[name]) for name in names] for split, names in content.items() if names}
        for file, content in splits.items()
    }


def _entry(name: str, grade: Grade) -> dict[str, str | int]:
    part = name.split("_")[0]
    return {"image": f"./images/{name}.png", "label": f"./labels/{name}.png", "part": part, **grade._asdict()}


def _convert(files: Mapping[str, Path], grades: Mapping[str, Grade], target: Path, manifest: Manifest) -> list[Finding]:
    """Write every image and annotation as PNG, record them, and return the faults of those that cannot be used."""
    for folder in ("images", "labels"):
        (target / folder).mkdir()
    findings: list[Finding] = []
    for name, grade in one_at_a_time(grades.items(), "image"):
        try:
            image, label = files[name], _annotation(files, name)
            pixels, ids = read_pair(image, label)
        except DataError as fault:
            findings += fault.findings
            continue
        outputs = {"image": target / "images" / f"{name}.png", "label": target / "labels" / f"{name}.png"}
        Image.fromarray(pixels).save(outputs["image"])
        Image.fromarray(ids).save(outputs["label"])
        sources = {"image": file_sha256(image), "label": file_sha256(label)}
        num_glands = int(np.count_nonzero(np.unique(ids)))
        manifest.add(name, sources, target, outputs, **grade._asdict(), shape=ids.shape, num_glands=num_glands)
    return findings


def _annotation(files: Mapping[str, Path], name: str) -> Path:
    label = f"{name}_anno"
    if label not in files:
        problem = f"its annotation {label}{files[name].suffix} is missing"
        raise DataError(
            [error("no-annotation", files[name], problem, "Download the annotation, or move the image away.")]
        )
    return files[label]
