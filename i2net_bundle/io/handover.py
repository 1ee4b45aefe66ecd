"""Hand decoded files from their check to their first use, so that a new file is decoded once and not twice.

What is decoded in a block `keeping_decoded` is kept, up to a share of the free memory, until it is read again with the
same arguments or `forget_decoded` is called. A file that changed in between is decoded again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from i2net_bundle.io.findings import DataError

_SHARE = 1 / 8  # of the free memory


@dataclass
class _Store:
    kept: dict[Hashable, tuple[Hashable, Any]]
    room: float  # bytes


_store = _Store({}, 0.0)


@contextlib.contextmanager
def keeping_decoded() -> Iterator[None]:
    """Keep what is decoded in the block."""
    _store.room = psutil.virtual_memory().available * _SHARE
    try:
        yield
    finally:
        _store.room = 0.0


def forget_decoded() -> None:
    """Release what was kept and not read again."""
    _store.kept.clear()


def decoded(
    read: Callable[..., Any],
    nbytes: Callable[[Any], int],
    path: str | Path,
    *arguments: Hashable,
    files: Callable[[Path], Sequence[Path]] = lambda path: [path],
) -> Any:
    """Return ``read(path, *arguments)``, or what an earlier call kept. Callers must not change the result.

    Args:
        read: decodes a file, or the files of a folder.
        nbytes: size of its result in bytes.
        path: a file or folder.
        arguments: everything else that the result depends on.
        files: the files that ``read`` reads.

    Raises:
        Exception: what ``read`` raises.
    """
    key = (read.__qualname__, os.path.abspath(path), arguments)
    if not _store.room and key not in _store.kept:
        return read(path, *arguments)
    state = _state(files, Path(path))
    before, result = _store.kept.pop(key, (None, None))
    if before is not None and before == state:
        return result
    result = read(path, *arguments)
    if state is not None and 0 < nbytes(result) <= _store.room:
        _store.room -= nbytes(result)
        _store.kept[key] = (state, result)
    return result


def _state(files: Callable[[Path], Sequence[Path]], path: Path) -> Hashable:
    """Return size and time of change of each file; None if that cannot be told."""
    try:
        return tuple((str(file), stat.st_size, stat.st_mtime_ns) for file in files(path) for stat in (file.stat(),))
    except (OSError, DataError):
        return None
