"""Show the root cause of an uncaught error. MONAI wraps errors in configurations in ones that name no file."""

from __future__ import annotations

import errno
import logging
import sys
import traceback
from types import TracebackType

from i2net_bundle.io.findings import shown_file
from i2net_bundle.io.printable import PrintableFormatter, printable_lines

_WRAPPERS = ("Failed to instantiate", "Failed to evaluate", "applying transform")
_OF_THE_USER = (OSError, ImportError, MemoryError)
_PACKAGE = "i2net_bundle"


def show_root_cause() -> None:
    """Print only the root cause of an uncaught error that the user can correct; others with their traceback.

    The engines' own reports of such an error, which repeat it without a file's name, are silenced. Control characters
    in messages are escaped, see `PrintableFormatter`; MONAI accepts no such class in ``logging.conf``.
    """
    sys.excepthook = _print_root_cause
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_no_repetition)
        if type(handler.formatter) is logging.Formatter:
            handler.setFormatter(PrintableFormatter(handler.formatter._fmt, handler.formatter.datefmt))


def root_cause(error: BaseException) -> BaseException:
    """Unwrap the error inside MONAI's own errors; return any other error unchanged."""
    while error.__cause__ is not None and str(error).startswith(_WRAPPERS):
        error = error.__cause__
    return error


def message_of(error: BaseException) -> str:
    """Return an error's message; the system's own, such as "[Errno 36] …", become the file, the fault and a remedy."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    file = "" if error.filename is None else f"{shown_file(error.filename)}: "
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "Free some space, and run the command again" if full else "Check the path, and your permissions"
    return f"{file}{error.strerror}. {remedy}."


def is_of_the_user(error: BaseException) -> bool:
    """Whether the user can correct an error: a missing file or package, lack of memory, or a refusal of this package.

    Refusals are ``ValueError`` and its kinds, raised by a module of this package.
    """
    if isinstance(error, _OF_THE_USER) or type(error).__name__ == "OutOfMemoryError":
        return True
    frames = list(traceback.walk_tb(error.__traceback__))
    raised_in = frames[-1][0].f_globals.get("__name__", "") if frames else ""
    return isinstance(error, ValueError) and raised_in.partition(".")[0] == _PACKAGE


def _print_root_cause(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    cause = root_cause(error)
    if not is_of_the_user(cause):
        sys.__excepthook__(kind, error, trace)
    if is_of_the_user(cause) or cause is not error:
        print(f"\nError: {printable_lines(message_of(cause))}", file=sys.stderr)


def _is_no_repetition(record: logging.LogRecord) -> bool:
    return "is terminating due to exception" not in record.getMessage()
