"""Hide identifying names of files and folders: UIDs, and patients' names as DICOM writes them (``DOE^JOHN``).

They never reach a log, table, page or output file name. Names in other forms cannot be recognised.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.config import disable_value_validation

HIDDEN = "[hidden]"

_UID = r"(?:(?<!\d)[012](?:\.\d+){3,}|(?<!\d)2\.25\.\d+)"
"""Dotted numbers under one of the three roots; UIDs derived from a UUID have only three components."""
_IN_TEXT = re.compile(rf"[^\s/\\:'\"]*{_UID}[^\s/\\:'\"]*|[^/\\:'\"\n]*\^[^/\\:'\"\n]*")


def is_identifying(name: str) -> bool:
    """Whether the name of a file or folder contains a UID or ``^``, the separator of patients' names in DICOM.

    >>> [is_identifying(name) for name in ("CT.1.2.840.113.5.dcm", "DOE^JOHN", "IM0001.dcm", "2024.05.01", "v2.1.0")]
    [True, True, False, False, False]
    """
    return "^" in name or re.search(_UID, name) is not None


def shown_path(path: str | Path) -> str:
    """Return a path for messages, with identifying names in the path of a folder hidden."""
    parts = Path(path).parts
    if not (any(map(is_identifying, parts)) and Path(path).is_dir()):
        return str(path)
    return str(Path(*(HIDDEN if is_identifying(part) else part for part in parts)))


def without_identifiers(text: str) -> str:
    """Hide identifying words and path components in a message from a library.

    >>> without_identifiers("Permission denied: 'scans/DOE^JOHN B/CT.1.2.840.113.5'")
    "Permission denied: 'scans/[hidden]/[hidden]'"
    """
    return _IN_TEXT.sub(HIDDEN, text)


@contextmanager
def quiet_dicom_libraries() -> Iterator[None]:
    """Silence pydicom and highdicom, whose warnings and log records quote values of patient attributes.

    Within the context values are not validated, so malformed ones are read and written as they are.
    """
    with quiet_loggers("pydicom", "highdicom"), warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def quiet_loggers(*names: str) -> Iterator[None]:
    """Silence loggers of libraries."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
