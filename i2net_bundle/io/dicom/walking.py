"""Walk through the files of a DICOM folder, linked folders included."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the regular files in a folder and its subfolders.

    Links to folders are followed, each folder once, so that links in a circle end. Hidden files and folders, pipes and
    devices are skipped.
    """
    visited: set[tuple[int, int]] = set()
    for name, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(name)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
        yield from (path for file in sorted(files) if (path := Path(name, file)).is_file() and file[0] != ".")
