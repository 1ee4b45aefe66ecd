"""Many cells: in several processes, with failures, stops and estimates."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from i2net_bundle.studies.cells import FAILED, FINISHED, STOPPED, is_finished
from i2net_bundle.studies.runner import Resources, environment, failures, run_cells
from i2net_bundle.workflow.stopping import Stop, Stopped, graceful_stop
from tests.studies.fake_cells import FAIL, fake_cell


def test_all_cells_run_even_if_one_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cells = [fake_cell(tmp_path, arm, train=FAIL) if arm == "b" else fake_cell(tmp_path, arm) for arm in "abcd"]
    outcomes = run_cells(cells, tmp_path, Resources(processes=2), Stop())
    assert sorted(outcome.status for outcome in outcomes) == [FAILED, FINISHED, FINISHED, FINISHED]
    assert [outcome.name for outcome in failures(outcomes)] == ["b/fold_0/seed_0"]
    assert "b/fold_0/seed_0 failed after" in caplog.text and "Error: no such weights" in caplog.text
    again = run_cells(cells, tmp_path, Resources(), Stop())
    assert [outcome.name for outcome in again] == ["b/fold_0/seed_0"]
    assert "3 of 4 cells are finished already" in caplog.text


def test_cells_run_side_by_side(tmp_path: Path) -> None:
    cells = [fake_cell(tmp_path, arm, seconds=2) for arm in "abcd"]
    started = time.monotonic()
    run_cells(cells, tmp_path, Resources(processes=4), Stop())
    assert time.monotonic() - started < 7  # one after another, they take 8 s


def test_the_whole_time_is_estimated_after_the_first_cell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run_cells([fake_cell(tmp_path, arm, weight=w) for arm, w in (("a", 1), ("b", 999))], tmp_path, Resources(), Stop())
    assert caplog.text.count("2 cells in 1 process will take about") == 1
    whole = caplog.text.partition("will take about ")[2].partition(" in all")[0]
    assert "min" in whole  # a fraction of a second for a weight of 1, minutes for 1000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_stops_the_study_and_the_same_call_continues_it(number: int, tmp_path: Path) -> None:
    def cells(seconds: float) -> list:
        return [fake_cell(tmp_path, arm, seconds=seconds) for arm in "abc"]

    threading.Timer(1.5, os.kill, (os.getpid(), number)).start()
    with pytest.raises(Stopped) as raised, graceful_stop() as stop:
        outcomes = run_cells(cells(60), tmp_path, Resources(processes=2), stop)
        assert {outcome.status for outcome in outcomes} == {STOPPED}
        stop.exit_if_requested("run it again")
    assert raised.value.code == 128 + number
    assert not (tmp_path / ".stop").exists()
    outcomes = run_cells(cells(0), tmp_path, Resources(processes=2), Stop())
    assert [outcome.status for outcome in outcomes] == [FINISHED] * 3
    assert all(is_finished(cell) for cell in cells(0))
    assert (tmp_path / "cells/a/fold_0/seed_0/steps.txt").read_text() == "started resumed "


def test_a_stop_left_by_a_killed_study_does_not_stop_the_next(tmp_path: Path) -> None:
    (tmp_path / ".stop").touch()
    assert run_cells([fake_cell(tmp_path, "a")], tmp_path, Resources(), Stop())[0].status == FINISHED


def test_threads_and_gpus_are_set_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert environment(Resources(threads=4), 0)["OMP_NUM_THREADS"] == "4"
    assert "CUDA_VISIBLE_DEVICES" not in environment(Resources(), 0)
    assert [environment(Resources(gpus=2), slot)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert environment(Resources(gpus=2), 1)["CUDA_VISIBLE_DEVICES"] == "7"


def test_a_cluster_without_dask_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(ImportError, match=r"--scheduler needs Dask: pip install 'i2net-bundle\[cluster\]'"):
        run_cells([fake_cell(tmp_path, "a")], tmp_path, Resources(scheduler="tcp://127.0.0.1:1"), Stop())
