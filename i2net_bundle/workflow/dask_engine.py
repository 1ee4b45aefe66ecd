"""Run tasks on the workers of a Dask cluster: of one that runs already, or of processes on this machine.

Every worker has at most one task per thread, and the next one is sent when a task ends. So a stop lets only the running
tasks finish, a worker that dies is blamed on the task that it ran and on no other, and what waits takes no memory.
"""

from __future__ import annotations

import importlib.util
import logging
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from i2net_bundle.io.counted import counted

POLL_S = 0.2
"""Seconds between two looks at the request to stop."""

_PATIENCE_S = 600.0  # for a worker to come back
_START_S = 600.0  # for a worker on this machine to start
_GATHER_S = 30.0  # for a result to arrive
_RUNS_AGAIN = object()

logger = logging.getLogger("i2net.cluster")


@dataclass(frozen=True)
class Cluster:
    """A cluster to use or to start.

    Attributes:
        scheduler: address of a Dask scheduler, such as "tcp://10.0.0.1:8786"; None starts workers on this machine.
        workers: number of workers on this machine, each a process with one thread for tasks.
        memory: bytes that each worker on this machine may use; one that exceeds them is killed. None is no limit.
        tries: how many workers may die of a task before it is given up; None leaves it to the scheduler.
    """

    scheduler: str | None = None
    workers: int = 1
    memory: int | None = None
    tries: int | None = None


class LostWorkersError(RuntimeError):
    """A task was given up, because the workers that ran it died."""


@contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Yield a client of the cluster. Workers on this machine are started before, and end with the block.

    Raises:
        ImportError: Dask is not installed.
        ConnectionError: the scheduler cannot be reached, or has no workers.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as cause:
        option = "--scheduler" if cluster.scheduler else "--workers"
        raise ImportError(f"{option} needs Dask: pip install 'i2net-bundle[cluster]'.") from cause
    logging.getLogger("distributed").setLevel(logging.WARNING)
    if cluster.scheduler:
        try:
            client = Client(cluster.scheduler, set_as_default=False)
        except (OSError, ValueError) as cause:
            raise ConnectionError(
                f"No Dask scheduler answers at {cluster.scheduler} ({cause}). Start one with `dask scheduler`, and "
                "pass the address that it prints."
            ) from cause
        with client:
            _set_tries(client, cluster.tries)
            yield client
        return
    # a worker near its limit works on; only one that exceeds it is killed
    spilling = {f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause")}
    with (
        dask.config.set(spilling),
        LocalCluster(
            n_workers=cluster.workers,
            threads_per_worker=1,
            memory_limit=cluster.memory or 0,
            death_timeout=_START_S,
            dashboard_address="127.0.0.1:0",
        ) as local,
        Client(local, set_as_default=False) as client,
    ):
        client.register_plugin(_until_told())
        _set_tries(client, cluster.tries)
        yield client


def dashboard(client: Any) -> str:
    """Where the cluster can be watched, in words."""
    if importlib.util.find_spec("bokeh") is None:
        return "no dashboard: it needs pip install bokeh"
    return f"dashboard: {client.dashboard_link}"


def num_threads(client: Any) -> int:
    """Number of tasks that the cluster's workers can run at a time.

    Raises:
        ConnectionError: there are no workers.
    """
    number = sum(client.nthreads().values())
    if not number:
        address = client.scheduler.address
        raise ConnectionError(
            f"The Dask scheduler at {address} has no workers. Start some with `dask worker {address} --nthreads 1`."
        )
    return number


def run_tasks(
    client: Any,
    function: Callable[..., Any],
    tasks: Mapping[str, tuple[Any, ...]],
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[str, Any]]:
    """Call a function once per task on the workers, and yield name and result in the order in which they end.

    Args:
        client: client of the cluster.
        function: a module's function.
        tasks: arguments by name.
        stopping: asked several times per second; as soon as it returns True, no further task starts.

    Yields:
        name and what the function returned; an error that it raised is the result. `LostWorkersError` is the result of
        a task that killed as many workers as the cluster allows.

    Raises:
        ConnectionError: the scheduler, or all workers, went away.
    """
    address = client.scheduler.address  # a client that has lost its scheduler forgets it
    waiting = iter(tasks.items())
    running: dict[Any, str] = {}
    exhausted, absent = False, _Absence()
    try:
        while True:
            with _naming_lost_scheduler(address):
                stop = stopping()
                free = absent.checked(client) - len(running)
                if absent.since is not None and stop:
                    return
                while free > 0 and not exhausted and not stop:
                    task = next(waiting, None)
                    exhausted = task is None
                    if task is not None:
                        name, arguments = task
                        running[client.submit(function, *arguments, key=f"{name}-{time.time_ns()}", pure=False)] = name
                        free -= 1
                if not running and (exhausted or stop):
                    return
                done = _ended(client, list(running))
            for future in done:
                with _naming_lost_scheduler(address):
                    result = _result(future)
                if result is not _RUNS_AGAIN:
                    yield running.pop(future), result
            if not running and not done:
                time.sleep(POLL_S)
    finally:
        client.cancel(list(running))


class _Absence:
    """Since when the cluster has no workers."""

    def __init__(self) -> None:
        self.since: float | None = None

    def checked(self, client: Any) -> int:
        """Number of tasks that the workers can run at a time.

        Raises:
            ConnectionError: there has been no worker for too long.
        """
        number, now = sum(client.nthreads().values()), time.monotonic()
        if number:
            self.since = None
        elif self.since is None:
            self.since = now
            logger.warning(f"No worker is left. Waiting for one for {_PATIENCE_S / 60:.0f} minutes.")
        elif now - self.since > _PATIENCE_S:
            raise ConnectionError(
                f"The Dask scheduler at {client.scheduler.address} has had no worker for {_PATIENCE_S / 60:.0f} "
                "minutes. Start some, and run the command again."
            )
        return number


def _ended(client: Any, running: Sequence[Any]) -> Collection[Any]:
    """Futures that have ended; waits a moment for the first one."""
    from distributed import wait

    if running:
        with client.as_current(), suppress(TimeoutError):
            ended: Collection[Any] = wait(running, timeout=POLL_S, return_when="FIRST_COMPLETED").done
            return ended
    return ()


def _result(future: Any) -> Any:
    """Result or error of a task that has ended; `_RUNS_AGAIN` if the result was lost with its worker."""
    from distributed import KilledWorker

    if future.status == "error":
        fault = future.exception()
        if isinstance(fault, KilledWorker):
            return LostWorkersError(
                f"{counted(fault.allowed_failures + 1, 'worker')} died while running it, at last "
                f"{fault.last_worker.address}. Perhaps memory was short: give each worker more, or run it alone."
            )
        return fault
    try:
        return future.result(timeout=_GATHER_S)
    except TimeoutError:
        return _RUNS_AGAIN


@contextmanager
def _naming_lost_scheduler(address: str) -> Iterator[None]:
    """Replace any error that a lost scheduler causes by one that names it.

    Raises:
        ConnectionError: the scheduler went away.
    """
    from concurrent.futures import CancelledError

    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError

    try:
        yield
    except (FutureCancelledError, CancelledError, CommClosedError, TimeoutError) as cause:
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # its attempts to reconnect
        raise ConnectionError(
            f"The Dask scheduler at {address} went away. Start it and its workers, and run the command again."
        ) from cause


def _set_tries(client: Any, tries: int | None) -> None:
    if tries is not None:
        client.run_on_scheduler(_allow_failures, tries - 1)


def _allow_failures(number: int, dask_scheduler: Any = None) -> None:
    dask_scheduler.allowed_failures = number


def _until_told() -> Any:
    """Plugin of a local worker: it finishes its task when Ctrl-C or SIGTERM reaches all processes of a job."""
    from distributed import WorkerPlugin

    class UntilTold(WorkerPlugin):
        """Leave signals to the process that started the worker."""

        name = "i2net-signals"

        def setup(self, worker: Any) -> None:
            """Ignore the signals."""
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)

    return UntilTold()
