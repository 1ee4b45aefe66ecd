"""A whole study: check its plan, run its cells, write its tables."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from i2net_bundle.data.datalist import read_datalist
from i2net_bundle.io.counted import counted
from i2net_bundle.io.writing import written_whole
from i2net_bundle.studies.cells import Cell, is_finished, make_cell, require_same_settings
from i2net_bundle.studies.costs import Cost, count_cost, prediction_times, step_seconds
from i2net_bundle.studies.page import page
from i2net_bundle.studies.plan import Plan, PlanError
from i2net_bundle.studies.plan_file import read_plan
from i2net_bundle.studies.preflight import Fold, build_network, require_gpus, study_folds, workflows
from i2net_bundle.studies.published import PublishedTable, published_table
from i2net_bundle.studies.results import study_results
from i2net_bundle.studies.runner import Resources, failures, run_cells
from i2net_bundle.studies.study_tables import StudyTables, write_tables
from i2net_bundle.tasks import TASKS
from i2net_bundle.workflow.folder_lock import folder_lock
from i2net_bundle.workflow.stopping import graceful_stop

TABLES_FOLDER, PLAN_COPY = "tables", "study.yaml"
_SIDES = {True: 224, False: 512}  # of volumes' slices and of histology, as the paper counts operations

logger = logging.getLogger("i2net.study")


@dataclass(frozen=True)
class Study:
    """A study that passed all checks.

    Attributes:
        plan: its plan.
        folds: its folds.
        cells: its runs; seed by seed and fold by fold, so that all arms can be compared early.
        costs: parameters and operations of every arm's network.
        builders: for every arm, a function that builds its network.
        published: published figures, if the plan names any.
        data_set: name of the data set, if it has one.
    """

    plan: Plan
    folds: list[Fold]
    cells: list[Cell]
    costs: Mapping[str, Cost]
    builders: Mapping[str, Callable[[], nn.Module]]
    published: PublishedTable | None
    data_set: str | None


def prepare_study(
    plan: Plan, dataset_dir: Path, out_dir: Path, resources: Resources, overlays_dir: Path | None = None
) -> Study:
    """Check a study before its first run, and describe its runs.

    Args:
        plan: its plan.
        dataset_dir: folder of the data set.
        out_dir: the study's folder.
        resources: where the cells will run.
        overlays_dir: folder of overlays besides those of the bundle.

    Raises:
        PlanError: the plan does not fit the bundle, the data set or the machine.
        CellSettingsError: the folder contains runs with other settings.
    """
    if not resources.scheduler:
        require_gpus(resources.gpus, str(plan.path))
    try:
        published = published_table(plan.published.table) if plan.published else None
    except ValueError as fault:
        raise PlanError(f"{plan.path}: published: {fault}") from fault
    found = {arm.name: workflows(plan, arm, overlays_dir) for arm in plan.arms}
    folds = study_folds(plan, dataset_dir, out_dir)
    costs: dict[str, Cost] = {}
    builders: dict[str, Callable[[], nn.Module]] = {}
    for arm in plan.arms:
        build = partial(build_network, plan, arm, found[arm.name].trained, dataset_dir, folds[0].datalist)
        network, channels = build()
        costs[arm.name] = count_cost(network, channels, _SIDES[TASKS[plan.task].volumes])
        builders[arm.name] = partial(_network_alone, build)
    cells = [
        make_cell(plan, arm, found[arm.name], fold, seed, dataset_dir, out_dir, _work(costs, found, arm.name, fold))
        for seed in plan.seeds
        for fold in folds
        for arm in plan.arms
    ]
    for cell in cells:
        require_same_settings(cell)
    return Study(plan, folds, cells, costs, builders, published, read_datalist(folds[0].datalist).name)


def run_study(
    file: str | Path,
    dataset_dir: str | Path,
    out_dir: str | Path,
    resources: Resources,
    overrides: Mapping[str, Any] | None = None,
    overlays_dir: str | Path | None = None,
    run: bool = True,
) -> bool:
    """Run a study and write its tables. The same command continues a study that was stopped or killed.

    Args:
        file: YAML file of the study.
        dataset_dir: folder of the data set.
        out_dir: the study's folder.
        resources: where the cells run; without GPUs there, the plan's number applies.
        overrides: settings of all runs, by id.
        overlays_dir: folder of overlays besides those of the bundle.
        run: whether to run the cells, or only to write the tables of those that are finished.

    Returns:
        whether all cells are finished.

    Raises:
        PlanError, CellSettingsError, FolderInUseError: nothing was run.
        Stopped: the study was stopped; what is finished is kept.
    """
    plan, out = read_plan(file, overrides), Path(out_dir)
    gpus = resources.gpus or plan.gpus
    resources = Resources(resources.processes or gpus or 1, resources.threads, gpus, resources.scheduler)
    with folder_lock(out), graceful_stop() as stop:
        study = prepare_study(plan, Path(dataset_dir), out, resources, Path(overlays_dir) if overlays_dir else None)
        with written_whole(out / PLAN_COPY) as temporary:
            shutil.copyfile(plan.path, temporary)
        arms, folds, seeds = (counted(len(items), word) for items, word in zip(
            (plan.arms, study.folds, plan.seeds), ("arm", "fold", "seed"), strict=True
        ))  # fmt: skip
        logger.info(f"{plan.title}: {arms}, {folds}, {seeds}")
        outcomes = run_cells(study.cells, out, resources, stop) if run else []
        stop.exit_if_requested(f"finished cells are kept in {out}. Run the same command again to continue.")
        _write(study, out, resources)
    failed = failures(outcomes)
    if failed:
        lines = "\n".join(f"  {outcome.name}: {outcome.message}" for outcome in failed)
        logger.error(
            f"{counted(len(failed), 'cell')} failed:\n{lines}\nTheir cell.log has more. Run the command again to retry."
        )
    return all(is_finished(cell) for cell in study.cells)


def _write(study: Study, out: Path, resources: Resources) -> None:
    """Write the tables of the finished cells."""
    results = study_results(study.plan, study.folds, study.cells)
    complete = [arm.name for arm in results.arms if arm.seeds]
    builders = {name: (study.builders[name], study.costs[name].shape) for name in complete}
    predictions = prediction_times(builders, out, resources.threads) if complete else {}
    steps = {
        name: seconds
        for name in complete
        if (seconds := step_seconds(cell.folder for cell in study.cells if cell.arm == name)) is not None
    }
    tables = StudyTables(results, study.costs, steps, predictions, study.published, study.data_set)
    folder = write_tables(tables, out / TABLES_FOLDER)
    with written_whole(folder / "index.html") as temporary:
        temporary.write_text(page(tables), encoding="utf-8")
    logger.info(f"results: {folder / 'index.html'}")


def _network_alone(build: Callable[[], tuple[nn.Module, int]]) -> nn.Module:
    return build()[0]


def _work(costs: Mapping[str, Cost], found: Mapping[str, Any], arm: str, fold: Fold) -> float:
    """Expected work of a cell: operations per image, images and epochs."""
    epochs = found[arm].trained.get("epochs")
    return float(costs[arm].macs * len(fold.training) * (epochs if isinstance(epochs, int) else 1))
