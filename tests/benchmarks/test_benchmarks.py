"""The benchmarks run, and measure what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measuring import UNIT, Table, alternating, in_own_process, peak_extra_mb
from tests.child_processes import CHILD_PATH

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_quick_form_writes_every_table_and_resumes(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--volumes", "1", "--output", str(page)]
    environment = os.environ | {"PYTHONPATH": CHILD_PATH}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-3000:]
    text, kept = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    for tables in kept["tables"].values():
        for table in tables:
            assert f"### {table['title']}" in text
            assert all(len(row) == len(table["header"]) for row in table["rows"])
    again = subprocess.run([*command, "--resume"], cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert again.returncode == 0
    assert again.stdout == ""
    assert page.read_text() == text


def test_medians_leave_out_the_first_round_and_one_slow_round() -> None:
    turns = iter([0.2, 0.01, 0.2, 0.01])
    found = alternating({"sleep": lambda: time.sleep(next(turns))}, 3, "")
    assert 0.01 <= found["sleep"] < 0.1
    assert found[UNIT] > 0


def test_peak_memory_is_what_the_work_held_at_most() -> None:
    if not Path("/proc/self/status").is_file():
        pytest.skip("the process's status is Linux's")
    held = np.zeros(1)

    def work() -> None:
        for megabytes in (60, 20):
            np.ones(megabytes << 17)

    assert 55 < peak_extra_mb(work) < 90
    assert 35 < in_own_process(_peak_of_forty) < 60
    del held


def _peak_of_forty() -> float:
    return peak_extra_mb(lambda: np.ones(40 << 17))


def test_a_table_is_markdown() -> None:
    table = Table("Title", ["a", "b"], [["1", "2"]], "Note.")
    assert table.markdown() == "### Title\n\nNote.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"
