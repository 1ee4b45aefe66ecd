"""An uncaught error ends with its root cause, and one that the user can correct is a single line."""

from __future__ import annotations

import errno
import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from i2net_bundle.prediction.padding import require_divisor
from i2net_bundle.workflow.errors import is_of_the_user, message_of, show_root_cause

START = """
import logging
from i2net_bundle.workflow.errors import show_root_cause
logging.basicConfig()
show_root_cause()
"""
WRAPPED = """
try:
    try:
        raise OSError("errno 2")
    except OSError as error:
        raise {kind}("no such case: a.nii.gz") from error
except {kind} as error:
    raise RuntimeError("Failed to instantiate component") from error
"""
REFUSED = """
from i2net_bundle.workflow.run_folders import check_results_dir
logging.getLogger("ignite.engine.engine.Engine").error("Engine run is terminating due to exception: already contains")
try:
    check_results_dir("tests", overwrite=False)
except ValueError:
    pass
except FileExistsError as error:
    raise RuntimeError("Failed to evaluate") from error
"""


def stderr_of(program: str) -> list[str]:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", START + program]
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    return done.stderr.strip().splitlines()


def test_an_error_of_the_user_is_one_line() -> None:
    assert stderr_of(WRAPPED.format(kind="FileNotFoundError")) == ["Error: no such case: a.nii.gz"]


def test_an_engines_report_of_the_same_error_is_silenced() -> None:
    (line,) = stderr_of(REFUSED)
    assert line.startswith("Error: tests already contains results.")


def test_control_characters_are_escaped_in_errors_and_logs() -> None:
    lines = stderr_of(
        'logging.getLogger().handlers[0].setFormatter(logging.Formatter("%(message)s"))\n'
        "show_root_cause()\n"
        'logging.warning("scan\\x1b[2J.nii")\n'
        'raise FileNotFoundError("scan\\x1b[2J.nii")\n'
    )
    assert lines[0] == r"scan\x1b[2J.nii" and lines[-1] == r"Error: scan\x1b[2J.nii"


def test_an_unexpected_error_has_its_traceback_and_the_root_cause_last() -> None:
    lines = stderr_of(WRAPPED.format(kind="KeyError"))
    assert lines[0].startswith("Traceback") and lines[-1] == "Error: 'no such case: a.nii.gz'"


@pytest.mark.parametrize(
    ("error", "expected"),
    [(MemoryError(), True), (ImportError("h5py"), True), (KeyError("a"), False), (ValueError("in torch"), False)],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_errors_that_the_user_can_correct_are_told_apart(error: Exception, expected: bool) -> None:
    assert is_of_the_user(error) is expected


def test_a_refusal_of_the_package_is_an_error_of_the_user() -> None:
    with pytest.raises(ValueError, match="positive integer") as caught:
        require_divisor(0)
    assert is_of_the_user(caught.value)


def test_control_characters_in_log_records_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    show_root_cause()
    logging.getLogger("i2net.test").warning("scan\x1b[2J.nii")
    assert out.getvalue() == "WARNING scan\\x1b[2J.nii\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            FileNotFoundError(errno.ENOENT, "No such file", "a.nii"),
            "a.nii: No such file. Check the path, and your permissions",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device. Free some space, and run"),
        (OSError("a.nii is damaged"), "a.nii is damaged"),
        (ValueError("[Errno 2]"), "[Errno 2]"),
    ],
)
def test_an_error_of_the_system_names_the_file_and_a_remedy(error: Exception, message: str) -> None:
    assert message_of(error).startswith(message)
