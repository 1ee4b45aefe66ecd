"""Score cases on the workers of a Dask cluster, which see the same files under the same paths as this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from i2net_bundle.io.counted import counted
from i2net_bundle.metrics.registry import METRICS
from i2net_bundle.prediction.cohort_record import package_versions
from i2net_bundle.workflow.dask_engine import Cluster, connected, dashboard, logger, num_threads, run_tasks
from i2net_bundle.workflow.same_workers import require_same_entries, this_worker

TRIES = 3
"""Number of workers that may die of a case before it is given up."""

_REMEDY = "Scores could differ. Give all workers the same environment, and run the command again."
_changing_metrics = threading.Lock()


def score_on_workers(
    scheduler: str, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], stopping: Callable[[], bool]
) -> Iterator[tuple[int, Any]]:
    """Score every case on a worker, with the metrics of this process.

    Args:
        scheduler: address of the Dask scheduler.
        function: a module's function that scores one case.
        jobs: its arguments for each case.
        stopping: asked several times per second; as soon as it returns True, no further case starts.

    Yields:
        index and result of each case, as they end; `LostWorkersError` is the result of a case that killed its workers.

    Raises:
        ImportError: Dask is not installed.
        ConnectionError: the scheduler cannot be reached or went away, or has no workers.
        WorkerError: a worker has other versions of packages.
    """
    with connected(Cluster(scheduler, tries=TRIES)) as client:
        logger.info(f"{counted(num_threads(client), 'worker')}, scheduler {scheduler}, {dashboard(client)}")
        same = (function, os.getcwd(), package_versions(), dict(METRICS))
        tasks = {str(index): (*same, job) for index, job in enumerate(jobs)}
        for name, result in run_tasks(client, attempt, tasks, stopping):
            yield int(name), result


def attempt(
    function: Callable[..., Any],
    folder: str,
    versions: Mapping[str, str],
    metrics: Mapping[str, Any],
    job: tuple[Any, ...],
) -> Any:
    """Score a case, and return an error instead of raising it; runs on a worker.

    Dask logs the arguments of a task that raises, and with them the names of files, which may identify a patient.
    """
    try:
        require_same_entries("versions", versions, package_versions(), this_worker(), _REMEDY)
        os.chdir(folder)  # where relative paths start
        with _changing_metrics:
            if dict(METRICS) != dict(metrics):
                METRICS.clear()
                METRICS.update(metrics)
        return function(*job)
    except Exception as fault:
        return fault
