"""Show the root cause of an uncaught error. MONAI wraps errors in configurations in ones that name no file."""

from __future__ import annotations

import sys
from types import TracebackType

_WRAPPERS = ("Failed to instantiate", "Failed to evaluate", "applying transform")


def show_root_cause() -> None:
    """Print the root cause of an uncaught exception after its traceback, see `root_cause`."""
    sys.excepthook = _print_root_cause_last


def root_cause(error: BaseException) -> BaseException:
    """Unwrap the error inside MONAI's own errors; return any other error unchanged."""
    while error.__cause__ is not None and str(error).startswith(_WRAPPERS):
        error = error.__cause__
    return error


def _print_root_cause_last(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, traceback)
    cause = root_cause(error)
    if cause is not error:
        print(f"\nError: {cause}", file=sys.stderr)
