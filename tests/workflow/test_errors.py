"""The output of an uncaught error ends with its root cause."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
from i2net_bundle.workflow.errors import show_root_cause
show_root_cause()
try:
    try:
        raise OSError("errno 2")
    except OSError as error:
        raise FileNotFoundError("no such case: a.nii.gz") from error
except FileNotFoundError as error:
    raise RuntimeError("Failed to instantiate component") from error
"""


def test_the_last_line_shows_the_root_cause() -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "Error: no such case: a.nii.gz"
