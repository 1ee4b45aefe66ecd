"""Cells of a study: one arm, fold and seed each, trained and evaluated by the bundle's own workflows in its own folder.

A cell's folder is the ``output_dir`` of its run. Besides the run's files it contains ``cell.json``, the settings it was
run with; ``train_overlay.json`` and ``evaluate_overlay.json``, with which the run can be repeated by hand; and
``cell.log``, what both workflows printed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from i2net_bundle.io.json_files import read_json_or_empty, write_json
from i2net_bundle.io.writing import file_sha256
from i2net_bundle.reports.run_results import EVALUATION_FOLDER, METRICS_NAME, read_scores
from i2net_bundle.studies.plan import Arm, Plan
from i2net_bundle.studies.preflight import Fold, Workflows, flat
from i2net_bundle.tasks import TASKS
from i2net_bundle.workflow.bundle_command import bundle_command
from i2net_bundle.workflow.run_folders import checkpoints
from i2net_bundle.workflow.running_config import LOCATION_AND_RESOURCES

RECORD_NAME, LOG_NAME, STOP_NAME, CELLS_FOLDER = "cell.json", "cell.log", ".stop", "cells"
TRAINED, FAILED, STOPPED, FINISHED = "trained", "failed", "stopped", "finished"
_PROCESS_NAME = ".process.json"
_POLL_S = 0.3
_PATIENCE_S = 120.0  # for a workflow to save its state after SIGTERM


@dataclass(frozen=True)
class Cell:
    """One run of a study; plain data, so that it can be sent to another machine.

    Attributes:
        name: path of its folder below ``cells/``, such as ``i2net/fold_0/seed_0``.
        folder: its folder, absolute.
        arm: name of its arm.
        fold: name of its fold.
        seed: its seed.
        scored: names of the cases in its ``metrics.csv``.
        record: everything that determines its result, by id.
        train_command: command line of training.
        evaluate_command: command line of evaluation.
        overlays: content of the overlays that it writes, by file name.
        stop_file: as soon as this file exists, the cell stops.
        weight: expected work of the cell, relative to the other cells.
    """

    name: str
    folder: Path
    arm: str
    fold: str
    seed: int
    scored: tuple[str, ...]
    record: Mapping[str, Any]
    train_command: tuple[str, ...]
    evaluate_command: tuple[str, ...]
    overlays: Mapping[str, Mapping[str, Any]]
    stop_file: Path
    weight: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Attributes:
        name: name of the cell.
        status: `FINISHED`, `FAILED` or `STOPPED`.
        seconds: time that it took now, without earlier attempts.
        message: last line of its log, if it failed.
    """

    name: str
    status: str
    seconds: float
    message: str = ""


class CellSettingsError(ValueError):
    """A cell was run with other settings than those of the study."""


def make_cell(
    plan: Plan, arm: Arm, found: Workflows, fold: Fold, seed: int, dataset_dir: Path, out_dir: Path, weight: float = 1.0
) -> Cell:
    """Describe one cell.

    Args:
        plan: the study.
        arm: one of its arms.
        found: the arm's configurations.
        fold: one of its folds.
        seed: one of its seeds.
        dataset_dir: folder of the data set.
        out_dir: the study's folder.
        weight: expected work of the cell, relative to the other cells.
    """
    out_dir = Path(os.path.abspath(out_dir))
    name = f"{arm.name}/{fold.name}/seed_{seed}"
    folder = out_dir / CELLS_FOLDER / name
    common = {"dataset_dir": os.path.abspath(dataset_dir), "datalist": str(fold.datalist), "output_dir": str(folder)}
    train = {"task": plan.task, **found.train_settings, **common, "seed": seed}
    evaluate = {"task": plan.task, **found.evaluate_settings, **common, "split": plan.split, "seed": seed}
    evaluate["overwrite"] = True  # of an evaluation that did not end
    overlays = {"train_overlay.json": train, "evaluate_overlay.json": evaluate}
    task = TASKS[plan.task]
    train_files, evaluate_files = (*found.train_files, folder / "train_overlay.json"), found.evaluate_files
    return Cell(
        name=name,
        folder=folder,
        arm=arm.name,
        fold=fold.name,
        seed=seed,
        scored=tuple(fold.scored),
        record=_record(plan, found, fold, seed),
        train_command=tuple(bundle_command("training", train_files, task, {})),
        evaluate_command=tuple(
            bundle_command("evaluating", (*evaluate_files, folder / "evaluate_overlay.json"), task, {})
        ),
        overlays=overlays,
        stop_file=out_dir / STOP_NAME,
        weight=weight,
    )


def require_same_settings(cell: Cell) -> None:
    """Check that what a cell's folder contains was run with the settings of the study.

    Raises:
        CellSettingsError: it was run with others, or is a run that no study made.
    """
    path = cell.folder / RECORD_NAME
    remedy = "Undo the change, or choose another --out; the finished runs are kept."
    if not path.is_file():
        if checkpoints(cell.folder) or (cell.folder / EVALUATION_FOLDER).exists():
            raise CellSettingsError(
                f"{cell.folder} contains a run without {RECORD_NAME}, so its settings are unknown. Move it away, or "
                "choose another --out."
            )
        return
    saved = read_json_or_empty(path).get("record")
    if not isinstance(saved, dict):
        raise CellSettingsError(f"{path} is damaged. Move {cell.folder} away to run the cell again.")
    wanted = json.loads(json.dumps(cell.record))
    ids = [id for id in dict.fromkeys((*saved, *wanted)) if saved.get(id) != wanted.get(id)]
    if ids:
        shown = "; ".join(f"{id} {_shown(saved, id)}, here {_shown(wanted, id)}" for id in ids[:5])
        more = f"; and {len(ids) - 5} more" if len(ids) > 5 else ""
        raise CellSettingsError(f"{path}: the cell was run with {shown}{more}. {remedy}")


def is_finished(cell: Cell) -> bool:
    """Whether the scores of all cases of a cell are there."""
    path = cell.folder / EVALUATION_FOLDER / METRICS_NAME
    if not path.is_file() or not (cell.folder / RECORD_NAME).is_file():
        return False
    try:
        return set(cell.scored) <= set(read_scores(path).cases)
    except ValueError:
        return False


def run_cell(cell: Cell, environment: Mapping[str, str]) -> Outcome:
    """Train and evaluate a cell, from its last checkpoint if there is one.

    Args:
        cell: the cell.
        environment: variables of its processes, besides those of this one.

    Returns:
        what became of it. A fault of the run is an outcome, not an exception.
    """
    started = time.perf_counter()

    def outcome(status: str, message: str = "") -> Outcome:
        return Outcome(cell.name, status, time.perf_counter() - started, message)

    try:
        if cell.stop_file.exists():
            return outcome(STOPPED)
        cell.folder.mkdir(parents=True, exist_ok=True)
        if not _wait_for_earlier_process(cell):
            return outcome(STOPPED)
        if is_finished(cell):
            return outcome(FINISHED)
        for name, content in cell.overlays.items():
            write_json(cell.folder / name, content)
        state = {"record": dict(cell.record), TRAINED: bool(read_json_or_empty(cell.folder / RECORD_NAME).get(TRAINED))}
        write_json(cell.folder / RECORD_NAME, state)
        if not state[TRAINED]:
            resume = ["--resume", "true"] if checkpoints(cell.folder) else []
            code = _run(cell, [*cell.train_command, *resume], environment)
            if code != 0:
                return outcome(STOPPED if cell.stop_file.exists() else FAILED, last_line(cell.folder / LOG_NAME))
            write_json(cell.folder / RECORD_NAME, {**state, TRAINED: True})
        code = _run(cell, cell.evaluate_command, environment)
        if code == 0 and is_finished(cell):
            return outcome(FINISHED)
        return outcome(STOPPED if cell.stop_file.exists() else FAILED, last_line(cell.folder / LOG_NAME))
    except OSError as fault:
        return outcome(FAILED, str(fault))


def last_line(path: Path) -> str:
    """The last line of a log that is not empty, at most 300 characters."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 20_000))
        lines = file.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def _record(plan: Plan, found: Workflows, fold: Fold, seed: int) -> dict[str, Any]:
    """Everything that determines the result of a cell: the merged configuration, the images and the seed."""
    leaves = dict(flat(found.trained))
    record = {id: value for id, value in leaves.items() if id.partition("::")[0] not in LOCATION_AND_RESOURCES}
    for id in ("encoder_weights", "init_weights"):
        weights = record.get(id)
        if isinstance(weights, str) and Path(weights).is_file():
            record[id] = f"sha256 {file_sha256(weights)}"
    for id in ("datalist", "resume", "extend"):
        record.pop(id, None)
    evaluation = {f"evaluate::{id}": value for id, value in found.evaluate_settings.items()}
    images = {"fold::training": list(fold.training), "fold::scored": sorted(fold.scored.values())}
    return {**record, **evaluation, **images, "split": plan.split, "seed": seed}


def _run(cell: Cell, command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a workflow and return its exit code; pass a stop of the study on to it."""
    if cell.stop_file.exists():
        return -1
    with (cell.folder / LOG_NAME).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
        try:
            owner = {
                "pid": process.pid,
                "host": socket.gethostname(),
                "created": psutil.Process(process.pid).create_time(),
            }
            write_json(cell.folder / _PROCESS_NAME, owner)
            while process.poll() is None:
                if cell.stop_file.exists():
                    process.terminate()
                    process.wait(_PATIENCE_S)
                time.sleep(_POLL_S)
        except subprocess.TimeoutExpired:
            process.kill()
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
            (cell.folder / _PROCESS_NAME).unlink(missing_ok=True)
    return process.returncode


def _wait_for_earlier_process(cell: Cell) -> bool:
    """Wait for the workflow of a study that was killed, if it still runs; False if the study is stopped meanwhile."""
    path = cell.folder / _PROCESS_NAME
    owner = read_json_or_empty(path)
    while owner.get("host") == socket.gethostname() and _is_running(owner):
        if cell.stop_file.exists():
            return False
        time.sleep(_POLL_S)
    path.unlink(missing_ok=True)
    return True


def _is_running(owner: Mapping[str, Any]) -> bool:
    try:
        process = psutil.Process(int(owner["pid"]))
        same = abs(process.create_time() - float(owner["created"])) < 2
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _shown(values: Mapping[str, Any], id: str) -> str:
    text = json.dumps(values[id], ensure_ascii=False) if id in values else "unset"
    return text if len(text) <= 80 else f"{text[:80]}…"
