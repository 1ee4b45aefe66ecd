"""Cells on the workers of a Dask cluster."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from i2net_bundle.studies.cells import FAILED, FINISHED, STOPPED
from i2net_bundle.studies.runner import Resources, run_cells
from i2net_bundle.workflow.stopping import Stop, Stopped, graceful_stop
from tests.studies.fake_cells import FAIL, TRAIN, fake_cell

distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster'")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Address of a cluster of two workers, as the commands of docs/studies.md start them."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
def test_workers_run_the_cells_and_report_failures(scheduler: str, tmp_path: Path) -> None:
    cells = [fake_cell(tmp_path, arm, train=FAIL if arm == "b" else TRAIN) for arm in "abc"]
    outcomes = run_cells(cells, tmp_path, Resources(scheduler=scheduler), Stop())
    found = {outcome.name[0]: (outcome.status, outcome.message) for outcome in outcomes}
    assert found == {"a": (FINISHED, ""), "b": (FAILED, "Error: no such weights"), "c": (FINISHED, "")}
    again = run_cells(cells, tmp_path, Resources(scheduler=scheduler), Stop())
    assert [outcome.name[0] for outcome in again] == ["b"]


@pytest.mark.slow
def test_a_stop_reaches_the_workers_and_the_study_can_be_continued(scheduler: str, tmp_path: Path) -> None:
    threading.Timer(4, os.kill, (os.getpid(), signal.SIGTERM)).start()
    cells = [fake_cell(tmp_path, arm, seconds=120) for arm in "abc"]
    with pytest.raises(Stopped), graceful_stop() as stop:
        outcomes = run_cells(cells, tmp_path, Resources(scheduler=scheduler), stop)
        assert {outcome.status for outcome in outcomes} == {STOPPED}
        stop.exit_if_requested("run it again")
    cells = [fake_cell(tmp_path, arm) for arm in "abc"]
    outcomes = run_cells(cells, tmp_path, Resources(scheduler=scheduler), Stop())
    assert {outcome.status for outcome in outcomes} == {FINISHED}


@pytest.mark.slow
def test_a_scheduler_without_workers_is_refused(tmp_path: Path) -> None:
    with (
        distributed.LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None) as cluster,
        pytest.raises(ConnectionError, match=r"has no workers\. Start some with `dask worker"),
    ):
        run_cells([fake_cell(tmp_path, "a")], tmp_path, Resources(scheduler=cluster.scheduler_address), Stop())


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_named(tmp_path: Path) -> None:
    dask = pytest.importorskip("dask")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
        pytest.raises(ConnectionError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"),
    ):
        run_cells([fake_cell(tmp_path, "a")], tmp_path, Resources(scheduler="tcp://127.0.0.1:9"), Stop())
