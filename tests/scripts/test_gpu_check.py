"""The check of a GPU, in a dry run on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch

from scripts.gpu_check import _outcome, page
from tests.child_processes import CHILD_PATH

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_dry_run_passes_and_says_that_it_is_one(tmp_path: Path) -> None:
    out = tmp_path / "page.md"
    command = [sys.executable, "-m", "scripts.gpu_check", "--device", "cpu", "--side", "64", "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": CHILD_PATH, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout[-3000:]
    text = out.read_text(encoding="utf-8")
    assert "A dry run on the CPU: no GPU has been checked." in text
    assert "11 passed, 0 failed, 3 skipped" in text
    assert text.count("| GlaS training step") == text.count("| GlaS prediction") == 4
    assert text.count("| Synapse training step") == text.count("| Synapse prediction") == 4
    assert text.count("| GlaS decoder, features of 2×64²: ") == 3
    assert text.count("| CT volume of 4 slices at 64²: ") == 4


def test_a_failed_test_is_on_the_page() -> None:
    case = ElementTree.fromstring('<testcase name="test_x"><failure message="a | b&#10;more">…</failure></testcase>')
    assert _outcome(case) == ("test x", "failed", "a | b")
    text = page("cpu", [_outcome(case)], [], 1)
    assert "## Tests: 0 passed, 1 failed, 0 skipped" in text
    assert "| test x | failed | a \\| b |" in text


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    command = [sys.executable, "-m", "scripts.gpu_check", "--device", "cuda", "--out", str(tmp_path / "page.md")]
    environment = os.environ | {"PYTHONPATH": CHILD_PATH}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 2
    assert "PyTorch finds no CUDA device. Check the driver, or pass --device cpu for a dry run." in done.stderr
