"""One writer per output folder. The lock belongs to the operating system, so a crash releases it."""

from __future__ import annotations

import atexit
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import psutil
from filelock import FileLock, Timeout
from ignite.engine import Engine, Events

from i2net_bundle.io.counted import counted
from i2net_bundle.io.writing import TEMPORARY, remove_leftovers

LOCK_NAME = ".i2net.lock"
"""Lock file of an output folder; it also contains the process id and host of its owner."""

_ORPHANS_SECONDS = 20  # data-loader workers outlive a killed process by some seconds and keep its lock
_held: dict[Path, FileLock] = {}

logger = logging.getLogger("i2net.files")


class FolderInUseError(BlockingIOError):
    """Another process writes to the folder."""


@contextmanager
def folder_lock(folder: str | Path) -> Iterator[None]:
    """Hold the lock of an output folder, see `lock_folder`; a block inside a locked one changes nothing."""
    if Path(folder).resolve() in _held:
        yield
        return
    lock_folder(folder)
    try:
        yield
    finally:
        unlock_folder(folder)


class FolderLock:
    """Handler that holds the lock of an output folder while an engine runs; attach it before all that write.

    After an error or a stop the lock is held until the process ends or runs the engine again.

    Args:
        output_dir: the folder.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.folder = Path(output_dir)

    def attach(self, engine: Engine) -> None:
        """Attach to an engine; only the first of several processes locks."""
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.STARTED, lock_folder, self.folder)
            engine.add_event_handler(Events.COMPLETED, unlock_folder, self.folder)


def lock_folder(folder: str | Path) -> None:
    """Lock an output folder for this process and remove what killed processes left in it.

    The folder is created. A lock that this process already holds stays.

    Raises:
        FolderInUseError: another process holds the lock.
    """
    path = Path(folder).resolve()
    if path in _held:
        return
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK_NAME)
    try:
        lock.acquire(timeout=_ORPHANS_SECONDS if _is_orphaned(path) else 0, poll_interval=0.1)
    except Timeout:
        raise FolderInUseError(_in_use(folder)) from None
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
    (path / LOCK_NAME).write_text(json.dumps(owner), encoding="utf-8")
    _held[path] = lock
    atexit.register(unlock_folder, path)
    removed = remove_leftovers(path, recursive=True)
    if removed:
        logger.info(
            f"{folder}: removed {counted(len(removed), 'temporary file')} of an earlier process that was killed"
        )


def unlock_folder(folder: str | Path) -> None:
    """Release the lock of a folder and remove its file; without a lock, do nothing."""
    path = Path(folder).resolve()
    lock = _held.pop(path, None)
    if lock is not None:
        (path / LOCK_NAME).unlink(missing_ok=True)  # while it is locked: waiting processes then create a new file
        lock.release()


def require_unlocked(folder: str | Path) -> None:
    """Check that no other process writes to a folder.

    Raises:
        FolderInUseError: another process holds the lock.
    """
    path = Path(folder).resolve()
    if path not in _held and (path / LOCK_NAME).is_file():
        with folder_lock(path):
            pass


def contains_results(folder: str | Path) -> bool:
    """Whether a folder contains anything but a lock and temporary files."""
    path = Path(folder)
    return path.is_dir() and any(
        item.name != LOCK_NAME and not item.name.startswith(TEMPORARY) for item in path.iterdir()
    )


def _owner(path: Path) -> dict[str, Any]:
    try:
        owner = json.loads((path / LOCK_NAME).read_text(encoding="utf-8"))
        return owner if isinstance(owner, dict) else {}
    except (OSError, ValueError):
        return {}


def _is_orphaned(path: Path) -> bool:
    """Whether the owner of a lock ran on this machine and is dead."""
    owner = _owner(path)
    pid = owner.get("pid")
    return owner.get("host") == socket.gethostname() and isinstance(pid, int) and not psutil.pid_exists(pid)


def _in_use(folder: str | Path) -> str:
    owner = _owner(Path(folder))
    who = "another process"
    if owner:
        who = f"process {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}"
    return f"{folder} is in use by {who}. Wait until that process ends, or choose another output folder."
