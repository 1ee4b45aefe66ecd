"""Make an uncaught error end with its cause: MONAI wraps what fails in a configuration in errors that name no file."""

from __future__ import annotations

import sys
from types import TracebackType

_WRAPPERS = ("Failed to instantiate", "Failed to evaluate", "applying transform")


def show_root_cause() -> None:
    """Let an uncaught exception end with the error that MONAI's own wrapped, as the last line of the traceback."""
    sys.excepthook = _print_root_cause_last


def root_cause(error: BaseException) -> BaseException:
    """The error that MONAI's own wrapped, or the error itself."""
    while error.__cause__ is not None and str(error).startswith(_WRAPPERS):
        error = error.__cause__
    return error


def _print_root_cause_last(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, traceback)
    cause = root_cause(error)
    if cause is not error:
        print(f"\nError: {cause}", file=sys.stderr)
