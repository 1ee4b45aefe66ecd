"""Tasks on the workers of a Dask cluster: results, errors, lost workers, a lost scheduler, stops."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from i2net_bundle.workflow import dask_engine
from i2net_bundle.workflow.dask_engine import Cluster, LostWorkersError, connected, dashboard, num_threads, run_tasks
from tests.workflow.engine_tasks import task

distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster'")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two workers on this machine, as `i2net predict --workers 2` starts them."""
    with connected(Cluster(workers=2, memory=600_000_000, tries=2)) as found:
        yield found


@pytest.mark.slow
def test_results_and_errors_come_under_the_names_of_their_tasks(client: Any) -> None:
    assert num_threads(client) == 2 and "dashboard" in dashboard(client)
    tasks = {str(number): ("raise" if number == 3 else f"result {number}",) for number in range(9)}
    found = dict(run_tasks(client, task, tasks))
    assert isinstance(found.pop("3"), ValueError)
    assert found == {name: arguments[0] for name, arguments in tasks.items() if name != "3"}


@pytest.mark.slow
def test_a_stop_lets_running_tasks_end_and_starts_no_other(client: Any) -> None:
    started = time.monotonic()
    tasks = {str(number): (str(number), 0.5) for number in range(20)}
    found = list(run_tasks(client, task, tasks, lambda: time.monotonic() - started > 0.6))
    assert 2 <= len(found) <= 6


@pytest.mark.slow
@pytest.mark.parametrize("what", ["kill", "eat"], ids=["killed", "out of memory"])
def test_a_task_that_kills_its_workers_is_given_up_and_no_other_is_blamed(client: Any, what: str) -> None:
    tasks = {"a": ("a", 0.1), "deadly": (what,), **{name: (name, 0.3) for name in "bcdef"}}
    found = dict(run_tasks(client, task, tasks))
    lost = found.pop("deadly")
    assert isinstance(lost, LostWorkersError)
    assert str(lost).startswith("2 workers died while running it, at last tcp://127.0.0.1:")
    assert "Perhaps memory was short" in str(lost)
    assert found == {name: name for name in "abcdef"}


@pytest.mark.slow
def test_a_scheduler_that_goes_away_is_named() -> None:
    code = """
import distributed, time
cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None,
                                   protocol="tcp://")
print(cluster.scheduler_address, flush=True)
time.sleep(600)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8") as scheduler:
        assert scheduler.stdout is not None
        address = scheduler.stdout.readline().strip()
        done = []
        with (
            pytest.raises(ConnectionError, match=rf"The Dask scheduler at {address} went away\. Start it"),
            connected(Cluster(address)) as client,
        ):
            for name, _ in run_tasks(client, task, {str(number): (str(number), 0.2) for number in range(500)}):
                done.append(name)
                if len(done) == 3:
                    scheduler.kill()
        assert 3 <= len(done) < 10


class NoWorkers:
    """A client of a cluster whose workers are gone."""

    class scheduler:  # noqa: N801  an attribute of clients
        address = "tcp://10.0.0.1:8786"

    def nthreads(self) -> dict[str, int]:
        return {}

    def cancel(self, futures: list) -> None:
        assert futures == []


def test_a_cluster_that_loses_all_workers_is_waited_for_and_then_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dask_engine, "_PATIENCE_S", 0.3)
    with pytest.raises(ConnectionError, match=r"tcp://10\.0\.0\.1:8786 has had no worker for 0 minutes\. Start some"):
        list(run_tasks(NoWorkers(), task, {"a": ("a",)}))
    assert caplog.text.count("No worker is left. Waiting for one") == 1


def test_a_stop_does_not_wait_for_workers() -> None:
    assert list(run_tasks(NoWorkers(), task, {"a": ("a",)}, lambda: True)) == []


def test_a_cluster_without_workers_is_refused() -> None:
    with pytest.raises(ConnectionError, match=r"has no workers\. Start some with `dask worker tcp://10"):
        num_threads(NoWorkers())


@pytest.mark.parametrize(("cluster", "option"), [(Cluster("tcp://a:1"), "--scheduler"), (Cluster(), "--workers")])
def test_a_missing_dask_is_named_with_its_extra(cluster: Cluster, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ImportError, match=rf"{option} needs Dask: pip install 'i2net-bundle\[cluster\]'"),
        connected(cluster),
    ):
        pass
