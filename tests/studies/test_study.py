"""The shipped study on phantoms, run as a user runs it, and killed."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from i2net_bundle.data.phantoms import make_gland_phantoms
from tests.child_processes import CHILD_PATH

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "configs" / "studies" / "smoke.yaml"
KILLS = 5


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gland_phantoms(tmp_path_factory.mktemp("glands") / "data", 8, 0, 1, (96, 128)).parent


def command(data: Path, out: Path, *options: str) -> list[str]:
    study = ["study", str(SMOKE), "--dataset_dir", str(data), "--out", str(out), "--processes", "2", *options]
    return [sys.executable, "-m", "i2net_bundle", *study]


def run(data: Path, out: Path, *options: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": CHILD_PATH, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command(data, out, *options), env=environment, capture_output=True, encoding="utf-8")


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "out"
    done = run(data, out)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "4 cells in 2 processes will take about" in done.stderr
    return out


@pytest.mark.slow
def test_the_smoke_study_ends_with_all_tables(finished: Path) -> None:
    text = (finished / "tables" / "study.md").read_text(encoding="utf-8")
    assert re.search(r"\| I²Net, K = 3 \| 11.40 \| 12.\d\d \| 11.40 \| 12.30 \| \d+\.\d{3} \| \d+\.\d{3} \|", text)
    assert re.search(r"\| Bilinear upsampling \| 8 \| 1 \| .* \| 87.98† \| 18.31† \|", text)
    cell = finished / "cells" / "bilinear" / "fold_1" / "seed_0"
    assert {"model.pt", "training.csv", "cell.json", "cell.log", "evaluation"} <= {path.name for path in cell.iterdir()}


@pytest.mark.slow
def test_a_finished_study_runs_nothing_again_and_refuses_other_settings(data: Path, finished: Path) -> None:
    before = (finished / "tables" / "scores.csv").read_bytes()
    started = time.monotonic()
    again = run(data, finished)
    assert again.returncode == 0 and "4 of 4 cells are finished already" in again.stderr
    assert time.monotonic() - started < 90
    assert (finished / "tables" / "scores.csv").read_bytes() == before
    other = run(data, finished, "--set", "epochs=3")
    assert other.returncode == 1
    assert "cell.json: the cell was run with epochs 2, here 3." in other.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_study_killed_at_random_ends_with_the_same_tables(data: Path, finished: Path, tmp_path: Path) -> None:
    moments, out = random.Random(17), tmp_path / "out"
    for number in range(KILLS):
        environment = os.environ | {"PYTHONPATH": CHILD_PATH, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command(data, out), env=environment, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(moments.uniform(5, 40))
            break
        except subprocess.TimeoutExpired:
            number_of = signal.SIGTERM if number % 2 else signal.SIGKILL
            if number_of == signal.SIGKILL:  # the study alone; its workflows live on
                process.kill()
            else:
                process.terminate()
            process.wait(180)
    done = run(data, out)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (out / "tables" / "scores.csv").read_bytes() == (finished / "tables" / "scores.csv").read_bytes()


@pytest.mark.slow
def test_a_second_study_in_the_same_folder_is_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    environment = os.environ | {"PYTHONPATH": CHILD_PATH, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command(data, out), env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (out / ".i2net.lock").is_file():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        second = run(data, out)
        assert second.returncode == 1 and "is in use by process" in second.stderr
    finally:
        first.terminate()
        first.wait(180)
