"""Cells whose workflows are small scripts, and scores with made-up numbers."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i2net_bundle.studies.cells import CELLS_FOLDER, STOP_NAME, Cell

TRAIN = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
with (folder / "steps.txt").open("a") as file:
    file.write("resumed " if "--resume" in sys.argv else "started ")
(folder / "checkpoints").mkdir(exist_ok=True)
(folder / "checkpoints" / "epoch_0001.pt").touch()
time.sleep(float(sys.argv[2]))
(folder / "model.pt").touch()
"""
EVALUATE = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1], "evaluation")
folder.mkdir(exist_ok=True)
rows = [f"{case},gland,0.5,0.5" for case in sys.argv[2:]]
(folder / "metrics.csv").write_text("\\n".join(["case,class,strict_dice,transunet_dice", *rows]))
"""
FAIL = "import sys; print('epoch 1'); sys.exit('Error: no such weights')"


def fake_cell(
    out: Path,
    arm: str,
    fold: str = "fold_0",
    seed: int = 0,
    train: str = TRAIN,
    seconds: float = 0.0,
    record: Mapping[str, Any] | None = None,
    weight: float = 1.0,
) -> Cell:
    """A cell that runs in a blink."""
    name = f"{arm}/{fold}/seed_{seed}"
    folder = out.resolve() / CELLS_FOLDER / name
    return Cell(
        name=name,
        folder=folder,
        arm=arm,
        fold=fold,
        seed=seed,
        scored=("a", "b"),
        record=record or {"epochs": 2},
        train_command=(sys.executable, "-c", train, str(folder), str(seconds)),
        evaluate_command=(sys.executable, "-c", EVALUATE, str(folder), "a", "b"),
        overlays={"train_overlay.json": {"seed": seed}},
        stop_file=out.resolve() / STOP_NAME,
        weight=weight,
    )


def write_scores(cell: Cell, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the scores of a finished cell."""
    folder = cell.folder / "evaluation"
    folder.mkdir(parents=True)
    (cell.folder / "cell.json").write_text(json.dumps({"record": dict(cell.record), "trained": True}))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
