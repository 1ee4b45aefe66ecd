"""Progress in logs, and limits of a process."""

from __future__ import annotations

import logging
import subprocess
import sys
import time

import pytest

from i2net_bundle.workflow.limits import parse_bytes
from i2net_bundle.workflow.progress import Progress

logger = logging.getLogger("i2net.test")


def test_a_log_tells_the_time_left(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Progress(4, "predicting", "image", logger, every_s=0.1) as progress:
        for _ in range(4):
            time.sleep(0.15)
            progress.step()
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("predicting: 1 of 4 images (25%), about ") and lines[0].endswith(" s left")
    assert len(lines) == 3  # the end needs no line


def test_short_work_writes_no_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Progress(2, "predicting", "image", logger) as progress:
        progress.step()
        progress.step()
    assert not caplog.records


@pytest.mark.parametrize("text", ["", "8 apples", "-1GB", "0GB", "GB", "1e9"])
def test_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no amount of memory\. Write a number and a unit, such as 8GB"):
        parse_bytes(text)


@pytest.mark.slow
def test_a_limit_of_memory_is_an_error_that_predictions_survive() -> None:
    if sys.platform != "linux":
        pytest.skip("the limit is Linux's")
    code = """
import numpy, torch
from i2net_bundle.prediction.memory import uniform_memory_errors
from i2net_bundle.workflow.limits import limit_process
limit_process(threads=1, memory=2 * 10**9)
for allocate in (lambda: torch.ones(10**9), lambda: numpy.ones(10**9)):
    try:
        with uniform_memory_errors():
            allocate()
    except torch.OutOfMemoryError:
        print("out of memory")
print(torch.get_num_threads(), float(torch.ones(10**6).sum()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split("\n")[:3] == ["out of memory", "out of memory", "1 1000000.0"]
