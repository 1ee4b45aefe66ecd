"""The table of scores: every metric of every case and class, as CSV, JSON and text."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events

import i2net_bundle
from i2net_bundle.data.datalist import image_stem
from i2net_bundle.files import file_sha256
from i2net_bundle.transforms.preprocessing import LENGTH_UNIT


class CaseScores:
    """Handler that writes ``metrics.csv`` (a row per case and class) and ``summary.json`` after an evaluation.

    An undefined value (Dice of a class that the truth does not hold, a distance to or from nothing) is left empty
    and out of the means; the columns of voxels and the counts of missed and invented classes say where that happened.

    Args:
        output_dir: folder of the two files.
        class_names: background first.
        weights: file that made the predictions; its SHA-256 is recorded.
    """

    def __init__(self, output_dir: str | Path, class_names: Sequence[str], weights: str | Path | None = None) -> None:
        self.output_dir = Path(output_dir)
        self.class_names = list(class_names)
        self.weights = Path(weights) if weights is not None else None
        self.logger = logging.getLogger("i2net.scores")

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose metrics are `ClasswiseMetric`."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self.names: list[str] = []
        self.units: list[str] = []
        self.voxels: list[np.ndarray] = []

    def _add(self, engine: Engine) -> None:
        count = len(self.class_names)
        state: Any = engine.state
        for batch, output in zip(state.batch, state.output, strict=True):
            self.names.append(batch.get("case") or image_stem(batch["image"].meta["filename_or_obj"]))
            self.units.append(batch["image"].meta.get(LENGTH_UNIT, "mm"))
            labels = [np.asarray(output[key]).astype(np.int64).ravel() for key in ("label", "pred")]
            self.voxels.append(np.stack([np.bincount(label, minlength=count)[1:count] for label in labels]))

    def _write(self, engine: Engine) -> None:
        self.output_dir.mkdir(parents=True, exist_ok=True)
        state: Any = engine.state
        values = {name: details.numpy() for name, details in state.metric_details.items()}
        with (self.output_dir / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["case", "class", *values, "distance_unit", "label_voxels", "pred_voxels"])
            for case, (name, (truth, predicted)) in enumerate(zip(self.names, self.voxels, strict=True)):
                for index, class_name in enumerate(self.class_names[1:]):
                    scores = [_blank(details[case, index]) for details in values.values()]
                    writer.writerow([name, class_name, *scores, self.units[case], truth[index], predicted[index]])
        summary = self._summary(values, engine)
        text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
        (self.output_dir / "summary.json").write_text(text + "\n", encoding="utf-8")
        self.logger.info("\n" + table(summary))

    def _summary(self, values: dict[str, np.ndarray], engine: Engine) -> dict[str, Any]:
        truth, predicted = np.stack(self.voxels, axis=1) > 0  # (cases, classes) each
        classes: dict[str, dict[str, Any]] = {}
        for index, class_name in enumerate(self.class_names[1:]):
            classes[class_name] = {name: _mean(details[:, index]) for name, details in values.items()}
            classes[class_name]["missed"] = int((truth & ~predicted)[:, index].sum())
            classes[class_name]["invented"] = int((predicted & ~truth)[:, index].sum())
        return {
            "cases": len(self.names),
            "distance_unit": " and ".join(sorted(set(self.units))),
            "mean": {name: _mean(np.array([engine.state.metrics[name]])) for name in values},
            "classes": classes,
            "per_case": self._per_case(values),
            "weights": _describe_weights(self.weights),
            "versions": {
                "i2net_bundle": i2net_bundle.__version__,
                "torch": torch.__version__,
                "monai": version("monai"),
            },
        }

    def _per_case(self, values: dict[str, np.ndarray]) -> dict[str, dict[str, dict[str, float | None]]]:
        return {
            case: {
                class_name: {name: _mean(details[row, column : column + 1]) for name, details in values.items()}
                for column, class_name in enumerate(self.class_names[1:])
            }
            for row, case in enumerate(self.names)
        }


def table(summary: dict[str, Any]) -> str:
    """The scores of ``summary.json`` as aligned text, a line per class and one for their mean."""
    metrics = list(summary["mean"])
    rows = [["class", *metrics, "missed", "invented"]]
    for name, scores in summary["classes"].items():
        rows.append([name, *(_shown(scores[metric]) for metric in metrics), scores["missed"], scores["invented"]])
    totals = [sum(scores[key] for scores in summary["classes"].values()) for key in ("missed", "invented")]
    rows.append(
        [f"mean of {summary['cases']} cases", *(_shown(summary["mean"][metric]) for metric in metrics), *totals]
    )
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(f"{cell!s:<{width}}" if not column else f"{cell!s:>{width}}" for column, (cell, width) in cells)
        for cells in (list(enumerate(zip(row, widths, strict=True))) for row in rows)
    ]
    return "\n".join([*lines, f"distances in {summary['distance_unit']}"])


def _mean(values: np.ndarray) -> float | None:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else None


def _blank(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _describe_weights(path: Path | None) -> dict[str, str] | None:
    if path is None:
        return None
    return {"file": path.name, "sha256": file_sha256(path)}
