"""Extract archives whose content is no larger than they plausibly hold."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

from i2net_bundle.io.findings import DataError, error
from i2net_bundle.io.regular_files import require_regular_file

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MOST_RATIO = 100
"""Largest compression of a whole data set; images compress two- to tenfold, label maps up to hundredfold."""
MOST_UNCHECKED_BYTES = 2**28
"""Content up to this size is extracted whatever its compression."""

_ENCRYPTED = 0x1
_AGAIN = "Download it again from a source that you trust."
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, ValueError, OverflowError)


def extract(archive: str | Path, folder: str | Path) -> None:
    """Extract an archive; members outside the folder are refused or skipped by the standard library's filters.

    Args:
        archive: a file with one of `SUFFIXES`.
        folder: existing folder.

    Raises:
        DataError: the archive is encrypted or damaged, or unpacks to implausibly much.
        OSError: the disk has no room for the content.
    """
    size = require_regular_file(archive)
    try:
        if str(archive).lower().endswith(".zip"):
            require_sound_zip(archive)
            with zipfile.ZipFile(archive) as opened:
                _require_room(archive, sum(member.file_size for member in opened.infolist()), folder)
            shutil.unpack_archive(archive, folder, "zip")  # reads no member beyond the size that was checked
        else:
            with tarfile.open(archive) as opened_tar:
                opened_tar.extractall(folder, filter=_Limit(archive, size, folder))
    except DataError:
        raise
    except _DAMAGED as cause:
        raise DataError([error("archive", archive, f"is a damaged archive ({cause})", "Download it again.")]) from cause
    except shutil.ReadError as cause:
        raise DataError([error("archive", archive, "is a damaged archive", "Download it again.")]) from cause


def require_sound_zip(archive: str | Path) -> None:
    """Check a zip archive's members, such as those of an ``.npz``, before any is unpacked.

    Raises:
        DataError: a member is encrypted, or the content is implausibly large.
        BadZipFile: the file is no zip archive.
    """
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
    if any(member.flag_bits & _ENCRYPTED for member in members):
        problem, remedy = "is an encrypted archive", "Extract it with its password, and pass the folder."
        raise DataError([error("archive", archive, problem, remedy)])
    _require_plausible(archive, Path(archive).stat().st_size, sum(member.file_size for member in members))


class _Limit:
    """A filter of tar members that counts their sizes while they are extracted."""

    def __init__(self, archive: str | Path, stored: int, folder: str | Path) -> None:
        self.archive, self.stored, self.folder, self.total = archive, stored, folder, 0

    def __call__(self, member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        self.total += max(member.size, 0)
        _require_plausible(self.archive, self.stored, self.total)
        _require_room(self.archive, member.size, self.folder)
        return tarfile.data_filter(member, path)


def _require_plausible(archive: str | Path, stored: int, content: int) -> None:
    if content > MOST_UNCHECKED_BYTES and content > MOST_RATIO * stored:
        problem = f"has {stored / 1e6:.1f} MB and unpacks to {content / 1e9:.1f} GB or more, as no data set does"
        raise DataError([error("archive", archive, problem, _AGAIN)])


def _require_room(archive: str | Path, content: int, folder: str | Path) -> None:
    free = shutil.disk_usage(folder).free
    if content > free:
        raise OSError(
            f"{archive} unpacks to {content / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free. Free some space."
        )
