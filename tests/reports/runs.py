"""Run folders as training and evaluation write them, with made-up numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from i2net_bundle.reports.calibration import Reliability
from i2net_bundle.reports.views import WHOLE_IMAGE, View, save_views

ORGANS = ("aorta", "liver", "spleen")


def write_training(run: Path, epochs: int = 4, num_learners: int = 3) -> None:
    """Write `training.csv` and `settings.json`; 0 learners stand for a network without gates."""
    run.mkdir(parents=True, exist_ok=True)
    names = ["epoch", "seconds", "learning_rate", "loss", "segmentation"]
    if num_learners:
        names += ["gate_instance_sharpening", "gate_expectation_smoothing", "learner_orthogonalization"]
        names += ["learner_cosine", *(f"mean_gate_{k}" for k in range(num_learners)), "gate_entropy"]
    names += ["gradient_norm", "val_mean_dice"]
    with (run / "training.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for epoch in range(1, epochs + 1):
            row: dict[str, Any] = {name: 1 / epoch for name in names} | {"epoch": epoch}
            row |= {f"mean_gate_{k}": 1 / num_learners for k in range(num_learners)}
            row["val_mean_dice"] = 1 - 1 / epoch if epoch % 2 == 0 else ""
            writer.writerow(row)
    settings = {"network": {"class_names": ["background", *ORGANS]}, "training": {"task": "synapse", "epochs": epochs}}
    (run / "settings.json").write_text(json.dumps(settings))


def score_rows(
    dice: Mapping[str, Sequence[float | None]],
    classes: Sequence[str] = ORGANS,
    unit: str = "mm",
    status: Mapping[tuple[str, str], str] | None = None,
    **known: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Rows of `metrics.csv`: Dice of every case and class, and metrics derived from it; None means absent.

    Args:
        dice: for every case, one value per class.
        classes: names of the classes.
        unit: unit of strict distances.
        status: status of every (case, class) that is not "found".
        known: further columns, each with a value per case.
    """
    rows = []
    for case, values in dice.items():
        for index, (name, value) in enumerate(zip(classes, values, strict=True)):
            kind = (status or {}).get((case, name), "absent" if value is None else "found")
            lost = kind in ("missed", "invented")
            amount = 100.0 * (index + 1)
            row: dict[str, Any] = {"case": case, **{column: cases[case] for column, cases in known.items()}}
            row |= {"class": name, "status": kind, "distance_unit": unit}
            row["strict_dice"] = "" if value is None else value
            row["strict_hd95"] = "" if value is None else 400.0 if lost else 50 * (1 - value)
            row["strict_surface_dice"] = "" if value is None or unit != "mm" else value
            row["transunet_dice"] = {"invented": 1}.get(kind, value or 0)
            row["transunet_hd95"] = 0 if lost or value is None else 20 * (1 - value)
            row["label_ml" if unit == "mm" else "label_voxels"] = 0 if kind in ("absent", "invented") else amount
            row["pred_ml" if unit == "mm" else "pred_voxels"] = (
                0 if kind in ("absent", "missed") else amount * (value or 1)
            )
            rows.append(row)
    return rows


def write_scores(run: Path, rows: Sequence[Mapping[str, Any]], data_set: str | None = None) -> Path:
    """Write `evaluation/metrics.csv` and `summary.json` of a run; returns the run."""
    folder = run / "evaluation"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    summary = {
        "data_set": data_set,
        "cases": len({row["case"] for row in rows}),
        "weights": {"file": "model.pt", "sha256": "ab" * 32},
        "versions": {"torch": "2.13.0"},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return run


def make_view(
    num_classes: int = 4, size: tuple[int, int] = (24, 32), num_learners: int = 3, color: bool = False, seed: int = 0
) -> View:
    """A view whose truth is stripes of classes and whose prediction is shifted by two columns."""
    generator = np.random.default_rng(seed)
    height, width = size
    truth = np.tile(np.arange(width) * num_classes // width, (height, 1)).astype(np.uint8)
    shape = (height // 4, width // 4)
    gates = generator.dirichlet(np.ones(num_learners), shape) if num_learners else np.empty((*shape, 0))
    return View(
        image=generator.integers(0, 255, (height, width, 3) if color else size).astype(np.uint8),
        truth=truth,
        prediction=np.roll(truth, 2, axis=1),
        gates=np.moveaxis(gates, -1, 0).astype(np.float16),
        spacing=(1.0, 1.0),
        index=WHOLE_IMAGE if color else 7,
        letters=("", "") if color else ("R", "L"),
    )


def write_views(run: Path, cases: Sequence[str], views: int = 2, **options: Any) -> None:
    """Write `evaluation/views/` of a run."""
    for number, case in enumerate(cases):
        made = [make_view(seed=number + k, **options) for k in range(views)]
        save_views(run / "evaluation" / "views" / f"{case}.npz", made)


def write_calibration(run: Path, classes: Sequence[str] = ORGANS) -> None:
    """Write `evaluation/calibration.json` of a run."""
    reliability = Reliability()
    reliability.add(np.linspace(0.34, 0.999, 3000), np.arange(3000) % 4 > 0)
    parts = {"all": reliability.summary(), "foreground": reliability.summary()}
    content = {"cases": 2, "where": "whole images", **parts}
    content["classes"] = {name: reliability.summary() for name in ("background", *classes)}
    (run / "evaluation" / "calibration.json").write_text(json.dumps(content))


def write_run(
    run: Path,
    cases: int = 4,
    classes: Sequence[str] = ORGANS,
    names: str = "case_{:03d}",
    num_learners: int = 3,
) -> Path:
    """Write a complete run; returns it."""
    generator = np.random.default_rng(0)
    dice = {
        names.format(i): [round(float(v), 4) for v in generator.uniform(0.5, 0.95, len(classes))] for i in range(cases)
    }
    status = {(next(iter(dice)), classes[-1]): "missed"}
    dice[next(iter(dice))][-1] = 0.0
    write_training(run, num_learners=num_learners)
    write_scores(run, score_rows(dice, classes, status=status))
    write_views(run, list(dice), num_classes=len(classes) + 1, num_learners=num_learners)
    write_calibration(run, classes)
    return run
