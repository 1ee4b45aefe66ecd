"""The fuzzer detects each kind of failure, and a short run of it finds none."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fuzzing.__main__ import fuzz
from fuzzing.mutations import with_png_checksums
from fuzzing.reader import Reader
from fuzzing.samples import KINDS

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="measures memory as Linux reports it"
)


def _faulty() -> Callable[[str, Path], str]:
    """A reader with one fault of each kind."""

    def run(kind: str, target: Path) -> str:
        if kind == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if kind == "hang":
            time.sleep(60)
        if kind == "memory":
            np.ones(5 << 28, np.uint8)
        if kind == "error":
            raise ZeroDivisionError
        return "read"

    return run


@pytest.mark.slow
def test_a_crash_a_hang_a_memory_blow_up_and_an_uncaught_error_are_told_apart(tmp_path: Path) -> None:
    with Reader(_faulty, limit_s=10) as reader:
        verdicts = [reader.read(kind, tmp_path).verdict for kind in ("crash", "hang", "memory", "error", "none")]
    assert verdicts == ["crash", "hang", "memory", "ZeroDivisionError", "read"]


def test_a_damaged_png_gets_valid_checksums(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.new("L", (3, 2)).save(path)
    damaged = bytearray(path.read_bytes())
    damaged[19] = 7  # the width
    path.write_bytes(with_png_checksums(bytes(damaged)))
    assert Image.open(path).size == (7, 2)


@pytest.mark.slow
def test_a_short_run_finds_no_failure(tmp_path: Path) -> None:
    counts = fuzz(list(KINDS), 15 * len(KINDS), 1, tmp_path)
    outcomes = [path.read_text() for path in tmp_path.rglob("outcome.txt")]
    assert not outcomes, "\n".join(outcomes)
    assert all(found.total() == 15 for found in counts.values())
    assert sum(found["read"] for found in counts.values()) > 0
