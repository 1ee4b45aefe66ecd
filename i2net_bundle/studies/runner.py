"""Run the cells of a study: in processes of this machine, or on a cluster by Dask.

A cell's work is done by the processes that it starts, so on one machine a thread per running cell, which only waits, is
enough; Dask's local cluster would add an interpreter per worker and a dependency. On a cluster, Dask finds free workers
and gives the cells of a lost worker to another, where they continue from their last checkpoint.
"""

from __future__ import annotations

import logging
import os
import queue
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from i2net_bundle.io.counted import counted
from i2net_bundle.studies.cells import FAILED, FINISHED, STOP_NAME, STOPPED, Cell, Outcome, is_finished, run_cell
from i2net_bundle.workflow.dask_engine import Cluster, connected, dashboard, num_threads, run_tasks
from i2net_bundle.workflow.progress import duration
from i2net_bundle.workflow.stopping import Stop

_POLL_S = 0.3

logger = logging.getLogger("i2net.study")


@dataclass(frozen=True)
class Resources:
    """Where cells run.

    Attributes:
        processes: number of cells that run at a time on this machine.
        threads: threads of each process.
        gpus: number of GPUs of this machine to spread the cells over; 0 leaves the device to the configuration.
        scheduler: address of a Dask scheduler, such as "tcp://10.0.0.1:8786", whose workers then run the cells.
    """

    processes: int = 1
    threads: int = 1
    gpus: int = 0
    scheduler: str | None = None


def run_cells(cells: Sequence[Cell], out_dir: Path, resources: Resources, stop: Stop) -> list[Outcome]:
    """Run the cells that are not finished. If one fails, the others still run.

    Args:
        cells: all cells of the study.
        out_dir: the study's folder.
        resources: where they run.
        stop: a request to stop; running cells then save their state and end.

    Returns:
        outcomes of the cells that ran, in the order in which they ended.

    Raises:
        ImportError: a scheduler is given and Dask is not installed.
        ConnectionError: the scheduler cannot be reached, or has no workers.
    """
    stop_file = out_dir / STOP_NAME
    stop_file.unlink(missing_ok=True)
    pending = [cell for cell in cells if not is_finished(cell)]
    if len(pending) < len(cells):
        logger.info(f"{len(cells) - len(pending)} of {counted(len(cells), 'cell')} are finished already")
    if not pending:
        return []
    outcomes = []
    run = _on_cluster if resources.scheduler else _here
    with logging_redirect_tqdm(), _Progress(pending, resources.processes) as progress:
        for outcome in run(pending, resources, progress, stop, stop_file):
            outcomes.append(outcome)
            progress.report(outcome)
    stop_file.unlink(missing_ok=True)
    return outcomes


class _Progress:
    """A progress bar over the cells, a log line for each, and an estimate of the time left."""

    def __init__(self, cells: Sequence[Cell], processes: int) -> None:
        self.weights = {cell.name: cell.weight for cell in cells}
        self.processes = processes
        self.finished: list[Outcome] = []
        self.started = time.perf_counter()

    def __enter__(self) -> _Progress:
        self.bar: Any = tqdm(total=len(self.weights), desc="cells", unit="cell", disable=None)
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def report(self, outcome: Outcome) -> None:
        """Show what became of a cell; after the first one that finished, also an estimate of the whole time."""
        self.bar.update()
        if outcome.status == STOPPED:
            return
        if outcome.status == FAILED:
            logger.warning(f"{outcome.name} failed after {duration(outcome.seconds)}: {outcome.message}")
            return
        self.finished.append(outcome)
        logger.info(f"{outcome.name} finished in {duration(outcome.seconds)}")
        left = self.seconds_left()
        self.bar.set_postfix_str(f"about {duration(left)} left")
        if len(self.finished) == 1 and self.bar.n < len(self.weights):
            whole = time.perf_counter() - self.started + left
            logger.info(
                f"{counted(len(self.weights), 'cell')} in {counted(self.processes, 'process', 'processes')} will take "
                f"about {duration(whole)} in all, if time is proportional to the networks' operations"
            )

    def seconds_left(self) -> float:
        """Expected time, from the cells that finished and the work of those that are left."""
        done = {outcome.name for outcome in self.finished}
        rate = sum(outcome.seconds for outcome in self.finished) / sum(self.weights[name] for name in done)
        left = sum(weight for name, weight in self.weights.items() if name not in done)
        return rate * left / min(self.processes, max(1, len(self.weights) - self.bar.n))


def _here(
    cells: Sequence[Cell], resources: Resources, progress: _Progress, stop: Stop, stop_file: Path
) -> Iterator[Outcome]:
    """Run cells on this machine; yield their outcomes."""
    slots: queue.Queue[int] = queue.Queue()
    for slot in range(resources.processes):
        slots.put(slot)

    def work(cell: Cell) -> Outcome:
        slot = slots.get()
        try:
            return run_cell(cell, environment(resources, slot))
        finally:
            slots.put(slot)

    with ThreadPoolExecutor(resources.processes) as pool:
        running: dict[Future[Outcome], Cell] = {pool.submit(work, cell): cell for cell in cells}
        try:
            while running:
                done, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                _pass_on(stop, stop_file)
                for future in done:
                    yield _outcome(running.pop(future).name, future.exception() or future.result())
        except BaseException:
            stop_file.touch()  # the pool waits for its threads
            raise


def _on_cluster(
    cells: Sequence[Cell], resources: Resources, progress: _Progress, stop: Stop, stop_file: Path
) -> Iterator[Outcome]:
    """Run cells on the workers of a Dask cluster, which see the same files under the same paths; yield outcomes."""
    with connected(Cluster(resources.scheduler)) as client:
        progress.processes = num_threads(client)
        logger.info(dashboard(client))
        variables = environment(resources, None)
        try:
            tasks = {cell.name: (cell, variables) for cell in cells}
            for name, result in run_tasks(client, run_cell, tasks, lambda: _pass_on(stop, stop_file)):
                yield _outcome(name, result)
        except BaseException:
            stop_file.touch()  # it stays: cells on other machines end when they see it
            raise


def _pass_on(stop: Stop, stop_file: Path) -> bool:
    """Ask the running cells to stop, wherever they run, if a stop is requested; returns whether it is."""
    if stop.requested and not stop_file.exists():
        stop_file.touch()
    return stop.requested


def _outcome(name: str, result: Outcome | BaseException) -> Outcome:
    """Outcome of a cell; an error of the engine, such as a lost worker, is a failure of the cell."""
    if isinstance(result, BaseException):
        return Outcome(name, FAILED, 0.0, f"{type(result).__name__}: {result}"[:300])
    return result


def environment(resources: Resources, slot: int | None) -> dict[str, str]:
    """Variables of a cell's processes: the number of threads, and the GPU of its slot."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    variables = dict.fromkeys(names, str(resources.threads))
    if resources.gpus and slot is not None:
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        visible = visible or [str(index) for index in range(resources.gpus)]
        variables["CUDA_VISIBLE_DEVICES"] = visible[slot % resources.gpus]
    return variables


def failures(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Outcomes of the cells that failed."""
    return [outcome for outcome in outcomes if outcome.status == FAILED]


def all_ran(outcomes: Sequence[Outcome]) -> bool:
    """Whether no cell was stopped."""
    return all(outcome.status in (FINISHED, FAILED) for outcome in outcomes)
