"""Open regular files only: reading a pipe waits forever, and a device never ends."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from i2net_bundle.io.findings import DataError, error

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def require_regular_file(path: str | Path) -> int:
    """Check that a path, or what it links to, is a regular file.

    Returns:
        its size in bytes.

    Raises:
        DataError: it is a folder, pipe, socket or device, is missing, or cannot be a path; names the kind.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as cause:
        broken = os.path.islink(path)
        problem = "is a link whose target is missing" if broken else f"cannot be opened ({_reason(cause)})"
        raise DataError([error("unreadable", path, problem, "Check the path.")]) from cause
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        problem = f"is {_KINDS.get(kind, 'a special file')}, not a file"
        raise DataError([error("file-kind", path, problem, "Pass a file, or the folder of a DICOM series.")])
    return status.st_size


def first_bytes(path: str | Path, count: int = 512) -> bytes:
    """Read the beginning of a regular file.

    Raises:
        DataError: the file is not a regular one, or cannot be opened.
    """
    require_regular_file(path)
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError as cause:
        problem = f"cannot be opened ({_reason(cause)})"
        raise DataError([error("unreadable", path, problem, "Check the path.")]) from cause


def _reason(cause: Exception) -> str:
    if isinstance(cause, OSError):
        return cause.strerror or str(cause)
    return "its name cannot be encoded" if isinstance(cause, UnicodeError) else "its name contains a NUL character"
