"""One process writes to an output folder, and a killed one leaves it usable."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ignite.engine import Engine

from i2net_bundle.io.writing import TEMPORARY
from i2net_bundle.workflow.folder_lock import LOCK_NAME, FolderInUseError, FolderLock, folder_lock
from i2net_bundle.workflow.run_folders import check_output_dir, check_results_dir, set_run_aside

HOLD = """
    import multiprocessing, sys, time
    from pathlib import Path
    from i2net_bundle.io.writing import written_whole
    from i2net_bundle.workflow.folder_lock import folder_lock
    with folder_lock(sys.argv[1]), written_whole(Path(sys.argv[1], "mask.nii.gz")):
        if len(sys.argv) > 2:
            multiprocessing.get_context("fork").Process(target=time.sleep, args=(3,)).start()
        print("locked", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a process that holds the lock of `tmp_path`, in the middle of writing a file."""
    started = []

    def start(*options: str) -> subprocess.Popen:
        command = [sys.executable, "-c", textwrap.dedent(HOLD), str(tmp_path), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_second_process_is_refused_and_the_first_is_named(hold: Callable, tmp_path: Path) -> None:
    process = hold()
    expected = rf"{tmp_path} is in use by process {process.pid} on {re.escape(socket.gethostname())} since .*Wait until"
    for refused in (
        lambda: folder_lock(tmp_path).__enter__(),
        lambda: check_output_dir(tmp_path, resume=False),
        lambda: check_results_dir(tmp_path, overwrite=True),
    ):
        with pytest.raises(FolderInUseError, match=expected):
            refused()
    assert len(list(tmp_path.glob(f"{TEMPORARY}*"))) == 1  # the file that the first process is writing


def test_a_run_in_use_is_not_renamed(hold: Callable, tmp_path: Path) -> None:
    (tmp_path / "model.pt").touch()
    hold()
    with pytest.raises(FolderInUseError):
        set_run_aside(tmp_path, resume=False)


@pytest.mark.parametrize("options", [(), ("with a worker that lives on",)], ids=["alone", "with a worker"])
def test_a_killed_process_leaves_neither_a_lock_nor_files(
    options: tuple[str, ...], hold: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = hold(*options)
    process.kill()
    process.wait()
    assert len(list(tmp_path.iterdir())) == 2  # lock and temporary file
    caplog.set_level("INFO")
    with folder_lock(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]
        assert f"{tmp_path}: removed 1 temporary file " in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_lock_within_a_lock_changes_nothing(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        with folder_lock(tmp_path):
            pass
        assert (tmp_path / LOCK_NAME).exists()
    assert not (tmp_path / LOCK_NAME).exists()


def test_a_lock_alone_is_not_a_result(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        check_results_dir(tmp_path, overwrite=False)


def test_an_engine_holds_the_lock_while_it_runs(tmp_path: Path) -> None:
    seen = []
    engine = Engine(lambda engine, batch: seen.append((tmp_path / LOCK_NAME).exists()))
    FolderLock(tmp_path).attach(engine)
    engine.run([0])
    assert seen == [True]
    assert not (tmp_path / LOCK_NAME).exists()


def test_a_lock_costs_little(tmp_path: Path) -> None:
    started = time.perf_counter()
    for _ in range(20):
        with folder_lock(tmp_path):
            pass
    assert time.perf_counter() - started < 2
    assert os.listdir(tmp_path) == []
