"""Walk a folder of images: links to folders are followed once, and nothing is left out without a word."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from i2net_bundle.io.findings import shown_file

logger = logging.getLogger("i2net.checks")


def files_below(folder: str | Path, recursive: bool = True) -> list[Path]:
    """List the files of a folder, sorted by path: everything that is not a folder, pipes and broken links included.

    Hidden files and folders are left out. Linked folders are searched after the others, each once. A link to a folder
    above ``folder``, and a folder that cannot be read, are skipped with a warning.

    Args:
        folder: where to look.
        recursive: whether to look in its subfolders too.
    """
    found: list[Path] = []
    pending, seen = [Path(folder)], set()
    root = Path(folder).resolve()
    while pending:
        top = pending.pop(0)
        target = top.resolve()
        if target in root.parents:
            logger.warning(f"{shown_file(top)}: is a link to a folder above it, and was not followed.")
            continue
        for current, links, names in _walk(top, recursive):
            real = current.resolve()
            if real in seen:
                continue
            seen.add(real)
            pending += links
            found += [current / name for name in names]
    return sorted(found)


def _walk(top: Path, recursive: bool) -> Iterator[tuple[Path, list[Path], list[str]]]:
    """Yield each folder below ``top`` with its linked folders and the names of its files."""
    for current, folders, names in os.walk(top, onerror=_warn):
        visible = sorted(name for name in folders if not name.startswith("."))
        folders[:] = visible if recursive else []
        links = [Path(current, name) for name in folders if Path(current, name).is_symlink()]
        yield Path(current), links, sorted(name for name in names if not name.startswith("."))


def _warn(fault: OSError) -> None:
    logger.warning(f"{shown_file(fault.filename)}: cannot be read ({fault.strerror}); its files are left out.")
