"""Results in a run's folder, read for reports and comparisons without the data set or the network."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from i2net_bundle.metrics.registry import METRICS, UNIT_NAMES, Metric
from i2net_bundle.workflow.run_settings import SETTINGS_NAME

METRICS_NAME, SUMMARY_NAME, TRAINING_NAME = "metrics.csv", "summary.json", "training.csv"
EVALUATION_FOLDER = "evaluation"
VIEWS_NAME, CALIBRATION_NAME = "views", "calibration.json"


@dataclass(frozen=True)
class ScoreTable:
    """Content of ``metrics.csv``: scores of every case and class.

    Attributes:
        path: path of the file.
        rows: columns of every (case, class).
    """

    path: Path
    rows: dict[tuple[str, str], dict[str, str]]

    @cached_property
    def cases(self) -> list[str]:
        """Names of the cases, in the order of the file."""
        return list(dict.fromkeys(case for case, _ in self.rows))

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the file."""
        return list(dict.fromkeys(name for _, name in self.rows))

    @cached_property
    def columns(self) -> list[str]:
        """Names of the columns that are not empty."""
        names = next(iter(self.rows.values()))
        return [name for name in names if any(row[name] for row in self.rows.values())]

    @cached_property
    def metrics(self) -> list[Metric]:
        """Metrics of the registry that the file contains."""
        return [metric for name, metric in METRICS.items() if name in self.columns]

    @cached_property
    def main_metric(self) -> Metric:
        """The metric that cases are ranked by: strict Dice, or transunet Dice in files without the strict protocol."""
        return METRICS["strict_dice" if "strict_dice" in self.columns else "transunet_dice"]

    @cached_property
    def distance_unit(self) -> str:
        """Unit of strict distances: "mm", "pixel" or "voxel"."""
        return " and ".join(sorted(set(self.texts("distance_unit")) - {""})) or "unknown unit"

    @property
    def unit(self) -> str:
        """Unit of strict distances as printed: mm, px or voxels."""
        return UNIT_NAMES.get(self.distance_unit, self.distance_unit)

    def matrix(self, column: str) -> np.ndarray:
        """A column of numbers for every case and class (cases, classes); NaN where a cell is empty."""
        values = [[self._number(case, name, column) for name in self.classes] for case in self.cases]
        return np.array(values, np.float64)

    def case_values(self, column: str) -> np.ndarray:
        """A column of numbers for every case (cases,): the mean over its classes, without empty cells."""
        matrix = self.matrix(column)
        count = np.isfinite(matrix).sum(axis=1)
        return np.where(count > 0, np.nansum(matrix, axis=1) / np.maximum(count, 1), np.nan)

    def statuses(self) -> np.ndarray:
        """Status of every case and class (cases, classes): found, missed, invented or absent."""
        return np.array([[self._text(case, name, "status") for name in self.classes] for case in self.cases])

    def texts(self, column: str) -> list[str]:
        """A column of text for every case; empty texts if the column is missing."""
        return [self._text(case, self.classes[0], column) for case in self.cases]

    def patients(self) -> list[str] | None:
        """Patient of every case; None unless all are known."""
        patients = self.texts("patient")
        return patients if all(patients) else None

    def _text(self, case: str, name: str, column: str) -> str:
        return self.rows.get((case, name), {}).get(column) or ""

    def _number(self, case: str, name: str, column: str) -> float:
        text = self._text(case, name, column)
        try:
            return float(text) if text else np.nan
        except ValueError as cause:
            problem = f"{self.path}: {column} of {name} in {case} is '{text}', which is not a number."
            raise ValueError(f"{problem} Evaluate again with --overwrite true.") from cause


@dataclass(frozen=True)
class RunResults:
    """Results found in a run's folder; parts that are missing are empty or None.

    Attributes:
        name: name of the run's folder.
        training: columns of ``training.csv``, each with its values (epochs,), NaN where empty.
        settings: content of ``settings.json``.
        scores: content of ``metrics.csv``.
        summary: content of ``summary.json``.
        calibration: content of ``calibration.json``.
        views: file of views of every case.
    """

    name: str
    training: dict[str, np.ndarray] = field(default_factory=dict)
    settings: dict[str, Any] | None = None
    scores: ScoreTable | None = None
    summary: dict[str, Any] | None = None
    calibration: dict[str, Any] | None = None
    views: dict[str, Path] = field(default_factory=dict)

    @property
    def trained_on(self) -> str | None:
        """Name of the training data set, if it is recorded."""
        return _text(self.settings, "trained_on")

    @property
    def data_set(self) -> str | None:
        """Name of the evaluated data set, if it is recorded."""
        return _text(self.summary, "data_set")


def read_run(folder: str | Path) -> RunResults:
    """Read the folder of a run, or of an evaluation.

    Raises:
        FileNotFoundError: the folder contains neither.
        ValueError: a file cannot be read; the message names it.
    """
    folder = Path(folder)
    results = evaluation_folder(folder)
    training, settings = folder / TRAINING_NAME, folder / SETTINGS_NAME
    if not training.is_file() and not (results / METRICS_NAME).is_file():
        raise FileNotFoundError(
            f"{folder} contains neither {TRAINING_NAME} nor {EVALUATION_FOLDER}/{METRICS_NAME}. Pass the output_dir of "
            "a training run, or the folder of an evaluation."
        )
    return RunResults(
        name=folder.resolve().name,
        training=read_training(training) if training.is_file() else {},
        settings=_read_json(settings),
        scores=read_scores(results / METRICS_NAME) if (results / METRICS_NAME).is_file() else None,
        summary=_read_json(results / SUMMARY_NAME),
        calibration=_read_json(results / CALIBRATION_NAME),
        views={path.stem: path for path in sorted((results / VIEWS_NAME).glob("[!.]*.npz"))},
    )


def evaluation_folder(folder: Path) -> Path:
    """Folder of a run's scores; the folder itself, if it is the folder of an evaluation."""
    return folder if (folder / METRICS_NAME).is_file() else folder / EVALUATION_FOLDER


def read_training(path: Path) -> dict[str, np.ndarray]:
    """Columns of ``training.csv``: one value per epoch, NaN where empty.

    Raises:
        ValueError: a cell is not a number; the message names the file.
    """
    rows = _read_csv(path)
    try:
        return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]} if rows else {}
    except (TypeError, ValueError) as cause:
        raise ValueError(f"{path} is not a record of training ({cause}).") from cause


def read_scores(path: Path) -> ScoreTable:
    """Scores of an evaluation.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not a table of scores, or contains a case and class twice.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist. Evaluate first: `monai.bundle run evaluating` or `i2net evaluate`."
        )
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for row in _read_csv(path):
        if not row.get("case") or not row.get("class"):
            raise ValueError(f"{path} is not a table of scores: every row needs a case and a class.")
        if (row["case"], row["class"]) in rows:
            raise ValueError(f"{path} contains {row['class']} of {row['case']} twice.")
        rows[row["case"], row["class"]] = row
    if not rows:
        raise ValueError(f"{path} contains no scores. Evaluate again with --overwrite true.")
    if not {"strict_dice", "transunet_dice"} & next(iter(rows.values())).keys():
        raise ValueError(f"{path} has neither strict_dice nor transunet_dice. Evaluate again with --overwrite true.")
    return ScoreTable(path, rows)


def _text(content: dict[str, Any] | None, key: str) -> str | None:
    found = (content or {}).get(key)
    return found if isinstance(found, str) else None


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: value or "" for name, value in row.items() if name} for row in csv.DictReader(file)]


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as cause:
        raise ValueError(f"{path} is not valid JSON ({cause}).") from cause
    if not isinstance(content, dict):
        raise ValueError(f"{path} does not contain a JSON object.")
    return content
