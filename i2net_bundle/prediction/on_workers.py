"""Segment cases on the workers of a Dask cluster, which see the same files under the same paths as this process.

A worker loads the networks once and keeps them. It writes the files of a case; the process that has the output folder's
lock writes the record. With every case, the packages and settings of the worker are compared with those of the others.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from i2net_bundle.io.counted import counted
from i2net_bundle.io.writing import DiskFullError, leave_leftovers, remove_leftovers, require_space
from i2net_bundle.prediction.case_files import PICTURES, Extras, files_of_case
from i2net_bundle.prediction.cohort import RESERVE, failure, predict_case
from i2net_bundle.prediction.cohort_record import RECORD, CaseRecord, package_versions
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.workflow.dask_engine import (
    Cluster,
    LostWorkersError,
    connected,
    dashboard,
    logger,
    num_threads,
    run_tasks,
)
from i2net_bundle.workflow.errors import message_of, root_cause
from i2net_bundle.workflow.limits import limit_process
from i2net_bundle.workflow.same_workers import WorkerError, require_same_entries, this_worker

_predictors: dict[str, Predictor] = {}
_one_at_a_time = threading.RLock()  # a predictor has a state, also on a worker with several threads


@dataclass(frozen=True)
class Setup:
    """How a worker makes its predictor.

    Attributes:
        options: arguments of `Predictor`.
        folder: working folder, where relative paths start.
        threads: threads of a worker; None leaves them to Dask.
        memory: bytes that a worker may use; None is no limit.
    """

    options: Mapping[str, Any]
    folder: str
    threads: int | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Same:
    """What must be the same on all workers.

    Attributes:
        settings: task, weights and settings.
        versions: versions of the packages.
    """

    settings: Mapping[str, Any]
    versions: Mapping[str, str]


@contextmanager
def workers(cluster: Cluster, setup: Setup) -> Iterator[Workers]:
    """Connect to the workers of a cluster, or start them.

    Raises:
        ImportError: Dask is not installed.
        ConnectionError: the scheduler cannot be reached, or has no workers.
        WorkerError: the first worker cannot load the networks.
    """
    with connected(cluster) as client:
        number = num_threads(client)
        logger.info(f"{counted(number, 'worker')}, scheduler {client.scheduler.address}, {dashboard(client)}")
        (_, found), *_ = run_tasks(client, describe_worker, {"describe": (setup,)})
        if isinstance(found, BaseException):
            raise WorkerError(f"No worker could load the networks: {message_of(root_cause(found))}") from found
        yield Workers(client, setup, found)


class Workers:
    """The workers of a cluster, see `i2net_bundle.prediction.cohort.Segmenter`.

    Args:
        client: client of the cluster.
        setup: how a worker makes its predictor.
        same: what must be the same on all workers.
    """

    def __init__(self, client: Any, setup: Setup, same: Same) -> None:
        self.client, self.setup, self.same = client, setup, same
        self.settings, self.versions = same.settings, same.versions

    def outcomes(
        self, cases: Sequence[Mapping[str, Any]], out_dir: Path, extras: Extras, stopping: Callable[[], bool]
    ) -> Iterator[CaseRecord]:
        """Segment cases and yield their outcomes as they end; see `Segmenter`.

        Raises:
            ConnectionError: the scheduler, or all workers, went away.
            DiskFullError: the disk of a worker is full; names the worker.
            WorkerError: a worker cannot segment any case.
        """
        by_name = {case["case"]: case for case in cases}
        tasks = {name: (self.setup, self.same, case, out_dir, extras) for name, case in by_name.items()}
        try:
            for name, result in run_tasks(self.client, attempt, tasks, stopping):
                if isinstance(result, LostWorkersError):
                    for path in files_of_case(out_dir, name):
                        path.unlink()
                    yield failure(by_name[name], str(result))
                elif isinstance(result, BaseException):
                    raise result
                else:
                    yield result
                require_space(out_dir / RECORD, RESERVE)
        finally:
            remove_leftovers(out_dir, recursive=True)  # of workers that were killed


def describe_worker(setup: Setup) -> Same:
    """Load the networks of a worker, and describe them; runs on a worker."""
    return Same(_predictor(setup).describe(), package_versions())


def attempt(setup: Setup, same: Same, case: Mapping[str, Any], out_dir: Path, extras: Extras) -> CaseRecord | Exception:
    """Segment a case as `segment` does, one at a time, and return an error instead of raising it; runs on a worker.

    Dask logs the arguments of a task that raises, and with them the names of folders, which may identify a patient.
    """
    try:
        with _one_at_a_time:
            return segment(setup, same, case, out_dir, extras)
    except Exception as fault:
        return fault


def segment(setup: Setup, same: Same, case: Mapping[str, Any], out_dir: Path, extras: Extras) -> CaseRecord:
    """Segment a case and write its files. Files of an attempt whose worker died are replaced.

    Raises:
        DiskFullError: the disk is full.
        WorkerError: this worker cannot segment any case.
    """
    try:
        predictor = _predictor(setup)
    except Exception as fault:
        raise WorkerError(f"{this_worker()}: {message_of(root_cause(fault))}") from None
    require_same(same, Same(predictor.describe(), package_versions()), this_worker())
    for folder in (out_dir, out_dir / PICTURES):
        leave_leftovers(folder)
    for path in files_of_case(out_dir, case["case"]):
        path.unlink(missing_ok=True)
    try:
        return predict_case(case, out_dir, predictor, extras)
    except DiskFullError as fault:
        raise DiskFullError(f"{this_worker()}: {fault}") from None


def require_same(expected: Same, found: Same, worker: str) -> None:
    """Check that a worker has the packages and settings of the others.

    Raises:
        WorkerError: it has others; names the worker and what differs.
    """
    remedy = (
        "Masks would differ. Give all workers the same environment and files, and run the command again with "
        "--continue."
    )
    require_same_entries("versions", expected.versions, found.versions, worker, remedy)
    require_same_entries("settings", expected.settings, found.settings, worker, remedy)


def _predictor(setup: Setup) -> Predictor:
    """The predictor of this worker, made once."""
    key = json.dumps(setup.options, sort_keys=True, default=str)
    with _one_at_a_time:
        os.chdir(setup.folder)
        if key not in _predictors:
            limit_process(setup.threads, setup.memory)
            options = dict(setup.options)
            options["device"] = options.get("device") or _own_gpu()
            _predictors[key] = Predictor(**options)
        return _predictors[key]


def _own_gpu() -> str | None:
    """GPU of this worker if several workers share a machine: workers on one machine are numbered from 0."""
    count = torch.cuda.device_count()
    if count < 2:
        return None
    from distributed import get_worker

    number = get_worker().name
    return f"cuda:{number % count}" if isinstance(number, int) else None
