"""Make an uncaught error end with its cause: MONAI wraps what fails in a configuration in errors that name no file."""

from __future__ import annotations

import sys
from types import TracebackType

_WRAPPERS = ("Failed to instantiate", "Failed to evaluate", "applying transform")


def show_root_cause() -> None:
    """Let an uncaught exception end with the error that MONAI's own wrapped, as the last line of the traceback."""
    sys.excepthook = _print_root_cause_last


def _print_root_cause_last(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, traceback)
    cause = error
    while cause.__cause__ is not None and str(cause).startswith(_WRAPPERS):
        cause = cause.__cause__
    if cause is not error:
        print(f"\nError: {cause}", file=sys.stderr)
