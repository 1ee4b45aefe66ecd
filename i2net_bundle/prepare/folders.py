"""Where a preparation reads from and writes to: folders or archives in, one whole folder out."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


@contextmanager
def opened_source(source: str | Path, workspace: str | Path) -> Iterator[Path]:
    """Give a folder to read from; an archive is extracted for as long as the block lasts.

    Members that would land outside the folder are refused or left out by the standard library's own filters.

    Args:
        source: folder, or archive (zip, tar, tar.gz) as downloaded.
        workspace: existing folder on whose disk archives are extracted.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the file is no archive, or a damaged one.
        OSError: the disk has no room for the archive's content.
    """
    source = Path(source)
    if source.is_dir():
        yield source
        return
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist. Name the folder or archive that you downloaded.")
    if not source.name.lower().endswith(_ARCHIVES):
        raise ValueError(f"{source} is neither a folder nor an archive ({', '.join(_ARCHIVES)}).")
    with tempfile.TemporaryDirectory(prefix=".i2net-extracted-", dir=workspace) as extracted:
        try:
            if source.suffix.lower() == ".zip":
                _require_room(source, extracted)
            shutil.unpack_archive(source, extracted, filter="data")
        except (shutil.ReadError, zipfile.BadZipFile, EOFError) as cause:
            raise ValueError(f"{source} is a damaged archive ({cause}). Download it again.") from cause
        yield Path(extracted)


@contextmanager
def staged_folder(out_dir: str | Path) -> Iterator[Path]:
    """Give a folder to write to; it becomes ``out_dir`` when the block ends, and vanishes when the block fails.

    Args:
        out_dir: the target, absent or empty.

    Raises:
        FileExistsError: the target holds something, or is a file.
        PermissionError: the target cannot be made.
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


def _require_room(archive: Path, folder: str) -> None:
    with zipfile.ZipFile(archive) as content:
        needed = sum(member.file_size for member in content.infolist())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{archive} holds {needed / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free. Make room first."
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
