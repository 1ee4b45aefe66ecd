"""Hide names of files and folders that identify a patient: UIDs, and names as DICOM writes them (``DOE^JOHN``).

They never reach a log, table, page or output file name. Names in other forms cannot be recognised.
"""

from __future__ import annotations

import re
from pathlib import Path

HIDDEN = "[hidden]"

_UID = r"(?:(?<!\d)[012](?:\.\d+){3,}|(?<!\d)2\.25\.\d+)"
"""Dotted numbers under one of the three roots; for UIDs made from a UUID, three numbers are enough."""
_IN_TEXT = re.compile(rf"[^\s/\\:'\"]*{_UID}[^\s/\\:'\"]*|[^/\\:'\"\n]*\^[^/\\:'\"\n]*")


def is_identifying(name: str) -> bool:
    """Whether a file's or folder's name holds a UID or DICOM's separator within patients' names.

    >>> [is_identifying(name) for name in ("CT.1.2.840.113.5.dcm", "DOE^JOHN", "IM0001.dcm", "2024.05.01", "v2.1.0")]
    [True, True, False, False, False]
    """
    return "^" in name or re.search(_UID, name) is not None


def shown_path(path: str | Path) -> str:
    """Return a path for messages; identifying names in a folder's path are hidden."""
    parts = Path(path).parts
    if not (any(map(is_identifying, parts)) and Path(path).is_dir()):
        return str(path)
    return str(Path(*(HIDDEN if is_identifying(part) else part for part in parts)))


def without_identifiers(text: str) -> str:
    """Hide identifying words and parts of paths in another program's message.

    >>> without_identifiers("Permission denied: 'scans/DOE^JOHN B/CT.1.2.840.113.5'")
    "Permission denied: 'scans/[hidden]/[hidden]'"
    """
    return _IN_TEXT.sub(HIDDEN, text)
