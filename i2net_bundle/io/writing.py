"""Write files and folders atomically: under a temporary name, then renamed."""

from __future__ import annotations

import csv
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path; it is renamed to ``path`` when the block ends, and removed if the block fails.

    Args:
        path: the target; its folder is created. The temporary path is in the same folder and has the same suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def staged_folder(out_dir: str | Path) -> Iterator[Path]:
    """Yield a temporary folder; it is renamed to ``out_dir`` when the block ends, and removed if the block fails.

    Args:
        out_dir: the target, absent or empty.

    Raises:
        FileExistsError: the target is a file, or not empty.
        PermissionError: the target cannot be created.
    """
    target = Path(out_dir).absolute()
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise FileExistsError(f"{out_dir} exists and is not empty. Name another --out; nothing is overwritten.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except PermissionError as cause:
        raise PermissionError(f"{target.parent} is not writable. Name another --out.") from cause
    try:
        yield staging
        staging.chmod(0o777 & ~_umask())
        if target.is_dir():
            target.rmdir()
        os.replace(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV table with the columns of all rows; missing values stay empty.

    Args:
        path: the table; its folder is created.
        rows: column name to value.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV table; without rows, an existing file is removed."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
