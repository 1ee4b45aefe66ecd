"""Write files and folders completely or not at all: beside their target, flushed to disk, then renamed.

A killed process can leave a temporary file or folder. Its name starts with `TEMPORARY`, and its writer holds an OS lock
on it while it lives, so the next writer of the folder recognises it as abandoned and removes it.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from i2net_bundle.io.printable import printable_lines

try:
    import fcntl
except ImportError:  # not on Windows, where abandoned files are not removed
    fcntl = None  # type: ignore[assignment]

TEMPORARY = ".i2net-tmp-"
"""Prefix of the names of temporary files and folders."""

_FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")

_swept: set[Path] = set()
_claims: set[int] = set()


class DiskFullError(OSError):
    """A file does not fit on the disk."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path. It becomes ``path`` at the end of the block and is deleted if the block fails.

    The data are on the disk before the rename, so neither a kill nor a power failure leaves half a file.

    Args:
        path: the target. Its folder is created. The temporary path is in the same folder and has the same suffixes.

    Raises:
        DiskFullError: the disk is full. An earlier file at ``path`` is kept.
    """
    with naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(path.parent)
        temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(4)}{''.join(path.suffixes[-2:])[-32:]}")
        temporary.touch()
        with _claimed(temporary):
            try:
                yield temporary
                _flush(temporary)
                os.replace(temporary, path)
                _flush(path.parent)
            finally:
                temporary.unlink(missing_ok=True)


@contextmanager
def staged_folder(out_dir: str | Path) -> Iterator[Path]:
    """Yield a temporary folder. It becomes ``out_dir`` at the end of the block and is deleted if the block fails.

    Args:
        out_dir: the target, absent or empty.

    Raises:
        FileExistsError: the target is a file or a folder that is not empty.
        PermissionError: the target cannot be created.
        DiskFullError: the disk is full.
    """
    target = Path(out_dir).absolute()
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise FileExistsError(f"{out_dir} exists and is not empty. Choose another --out; nothing is overwritten.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(target.parent)
        staging = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=target.parent))
    except PermissionError as cause:
        raise PermissionError(f"{target.parent} is not writable. Choose another --out.") from cause
    with naming_full_disk(target), _claimed(staging):
        try:
            yield staging
            staging.chmod(0o777 & ~_umask())
            for path in (*staging.rglob("*"), staging):
                _flush(path)
            if target.is_dir():
                target.rmdir()
            os.replace(staging, target)
            _flush(target.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def remove_leftovers(folder: Path, recursive: bool = False) -> list[Path]:
    """Remove the temporary files and folders of killed processes; those of living processes stay.

    Args:
        folder: the folder to search.
        recursive: also search its subfolders.

    Returns:
        the removed paths.
    """
    removed = []
    for path in list((folder.rglob if recursive else folder.glob)(f"{TEMPORARY}*")):
        with suppress(OSError), _claimed(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            removed.append(path)
    return removed


def leave_leftovers(folder: Path) -> None:
    """Leave what killed processes left in a folder to the process that has the folder's lock.

    For one of several processes that write to a folder from machines which may not see each other's locks.
    """
    _swept.add(folder)


def require_space(path: Path, size: int) -> None:
    """Check that a file fits on its disk before it is written.

    Args:
        path: the target, in an existing folder.
        size: in bytes.

    Raises:
        DiskFullError: the free space is smaller.
    """
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise _disk_full(path, f"it needs {size / 1e6:.1f} MB, and {free / 1e6:.1f} MB are free")


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Replace any error that a full disk causes in the block by one that names the file and the remedy.

    Args:
        path: the file or folder that the block writes.
    """
    try:
        yield
    except DiskFullError:
        raise
    except Exception as cause:
        number = getattr(cause, "errno", None)
        if number in (errno.EDQUOT, errno.EFBIG):
            raise _disk_full(path, "the quota or the limit on the size of a file is reached") from cause
        existing = next(parent for parent in path.absolute().parents if parent.exists())
        # libraries in C++ report a failed write in words of their own
        if number == errno.ENOSPC or shutil.disk_usage(existing).free < 2**16:
            raise _disk_full(path, "the disk is full") from cause
        raise


def _disk_full(path: Path, reason: str) -> DiskFullError:
    error = DiskFullError(
        f"{path} was not written: {reason}. Free some space or choose another output folder, and run the command "
        "again. Files written before are complete."
    )
    error.errno = errno.ENOSPC
    return error


@contextmanager
def _claimed(path: Path) -> Iterator[None]:
    """Hold an OS lock on a temporary file or folder; it ends with the process.

    Raises:
        BlockingIOError: another writer holds it.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    _claims.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            if cause.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):  # a file system without locks
                raise
        yield
    finally:
        if descriptor in _claims:
            _claims.remove(descriptor)
            os.close(descriptor)


def _drop_claims() -> None:
    """Close the locks that a forked process inherits: they would outlive their writer."""
    while _claims:
        os.close(_claims.pop())


if fcntl is not None:
    os.register_at_fork(after_in_child=_drop_claims)


def _sweep_once(folder: Path) -> None:
    """Remove the leftovers of killed processes the first time that this process writes to a folder."""
    if fcntl is not None and folder not in _swept:
        _swept.add(folder)
        remove_leftovers(folder)


def _flush(path: Path) -> None:
    """Write what the operating system buffers of a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as cause:
        if cause.errno not in (errno.EINVAL, errno.EBADF, errno.EACCES):  # some file systems flush no folders
            raise
    finally:
        os.close(descriptor)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV table with the columns of all rows; missing values stay empty.

    Args:
        path: the table; its folder is created.
        rows: column names to values.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = SafeCsvWriter(file)
        writer.writerow(names)
        writer.writerows([row.get(name, "") for name in names] for row in rows)


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table; without rows no file is written, and an existing one is deleted."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = SafeCsvWriter(file)
        writer.writerow(header)
        writer.writerows(rows)


class SafeCsvWriter:
    """Write CSV rows whose texts neither a spreadsheet runs as a formula nor a terminal obeys.

    A formula gets a leading apostrophe, which makes it text (OWASP, "CSV injection"). Numbers are kept.

    Args:
        file: opened with ``newline=""``.
    """

    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file)

    def writerow(self, row: Iterable[Any]) -> None:
        """Write one row."""
        self._writer.writerow([_safe(cell) if isinstance(cell, str) else cell for cell in row])

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write several rows."""
        for row in rows:
            self.writerow(row)


def _safe(text: str) -> str:
    is_formula = len(text) > 1 and text.lstrip()[:1] in _FORMULA_STARTS and not _is_number(text)
    return printable_lines(f"'{text}" if is_formula else text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
