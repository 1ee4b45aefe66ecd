"""Files of tensors: weights and checkpoints. Every file written here carries a digest that is checked on reading.

Files are those of ``torch.save``, so ``torch.load(path, weights_only=True)`` reads them without this package, as MONAI
Label and ``monai.bundle`` do. The SHA-256 digest is the comment of the ZIP archive that ``torch.save`` writes. Files
from elsewhere have no such comment; their records are checked against the archive's own CRC-32 checksums, which PyTorch
does not compare. The safetensors format has no checksum at all, so it would not replace this one.
"""

from __future__ import annotations

import hashlib
import logging
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from i2net_bundle.io.writing import require_space, written_whole

_MARK = b"i2net-sha256:"
_COMMENT_BYTES = len(_MARK) + 64
_END = b"PK\5\6"
"""Start of a ZIP archive's last record, which has 22 bytes without a comment."""
_HEADROOM = 2**16
"""Bytes of an archive besides its tensors: names, offsets, padding."""

logger = logging.getLogger("i2net.weights")


class TensorFileError(ValueError):
    """A file cannot be read as tensors. The message says what it is instead, as in "empty"."""


class DamagedFileError(TensorFileError):
    """A file of tensors is damaged."""


def save_tensors(contents: Mapping[str, Any], path: Path) -> None:
    """Write tensors to a file with a digest. The file appears complete or not at all; equal contents give equal bytes.

    Args:
        contents: tensors, numbers and text in nested mappings and lists, such as a state dict.
        path: the target; an earlier file is replaced.

    Raises:
        DiskFullError: the file does not fit on the disk. An earlier file is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    require_space(path, sum(_tensor_bytes(contents)) + _HEADROOM)
    with written_whole(path) as temporary, temporary.open("w+b") as file:
        torch.save(contents, file)  # a path would give the archive the temporary file's name
        _seal(file)


def load_tensors(path: str | Path) -> Any:
    """Read a file of tensors on the CPU, without running any code from it.

    Returns:
        its contents, usually a state dict.

    Raises:
        DamagedFileError: the file is damaged.
        TensorFileError: the file is of another kind, or contains more than tensors.
    """
    path = Path(path)
    with path.open("rb") as file:
        is_archive = _is_archive(file)
        if not _check_digest(file) and is_archive:
            _check_records(file)
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # PyTorch's own message suggests to run the file's code
        raise _refusal(path) from None
    if not is_archive:
        logger.warning(
            f"{path} is in PyTorch's format before version 1.6, which has no checksums: damage goes unnoticed"
        )
    return contents


def _seal(file: BinaryIO) -> None:
    """Append the digest of an archive as its comment."""
    file.seek(-2, 2)
    if file.read() != b"\0\0":
        raise RuntimeError("torch.save ended its archive with a comment, so no digest can be added.")
    file.seek(-2, 2)
    file.write(_COMMENT_BYTES.to_bytes(2, "little"))
    digest = _digest(file, file.seek(0, 2))
    file.seek(0, 2)
    file.write(_MARK + digest)


def _check_digest(file: BinaryIO) -> bool:
    """Compare a file with its digest; returns False if it has none.

    Raises:
        TensorFileError: they differ.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - _COMMENT_BYTES))
    comment = file.read()
    if not re.fullmatch(re.escape(_MARK) + rb"[0-9a-f]{64}", comment):
        return False
    if _digest(file, size - _COMMENT_BYTES) != comment[len(_MARK) :]:
        raise DamagedFileError("damaged: it does not match its SHA-256 digest")
    return True


def _digest(file: BinaryIO, size: int) -> bytes:
    """SHA-256 of the first bytes of a file, hexadecimal."""
    digest, left = hashlib.sha256(), size
    file.seek(0)
    while left:
        block = file.read(min(left, 2**20))
        if not block:
            raise DamagedFileError("truncated")
        digest.update(block)
        left -= len(block)
    return digest.hexdigest().encode()


def _check_records(file: BinaryIO) -> None:
    """Compare an archive's records with their CRC-32, and its sizes with the file's."""
    file.seek(max(0, file.seek(0, 2) - len(_END) - 18))
    if not (end := file.read()).startswith(_END) or not end.endswith(b"\0\0"):  # no comment, or one that is no digest
        raise DamagedFileError("truncated or damaged: it does not end as PyTorch ends an archive")
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            if any(item.compress_type != zipfile.ZIP_STORED for item in records):
                raise TensorFileError("a compressed archive, which PyTorch does not write")
            if sum(item.file_size for item in records) > file.seek(0, 2):
                raise DamagedFileError("damaged: its records are larger than the file")
            damaged = archive.testzip()
    except TensorFileError:
        raise
    except Exception as cause:  # zipfile raises many kinds of error on damaged archives
        raise DamagedFileError("truncated or damaged") from cause
    if damaged is not None:
        raise DamagedFileError("damaged: a record does not match its checksum (or was saved without checksums)")


def _is_archive(file: BinaryIO) -> bool:
    """Whether a file is of PyTorch's present format, not of the one before version 1.6.

    Raises:
        TensorFileError: it is of another kind; names those often found in the place of weights.
    """
    start = file.read(64)
    if not start:
        raise TensorFileError("empty")
    if start.startswith(b"version https://git-lfs"):
        raise TensorFileError("a pointer of Git LFS, whose file was not fetched")
    if start.lstrip()[:1] == b"<":
        raise TensorFileError("a web page")
    if re.match(rb".{8}\{\s*\"", start, re.DOTALL):
        raise TensorFileError("in the safetensors format. Convert it: torch.save(safetensors.torch.load_file(…), …)")
    if not start.startswith((b"PK", b"\x80")):
        raise TensorFileError(f"of another kind; it starts with {start[:32]!r}")
    return start.startswith(b"PK")


def _refusal(path: Path) -> TensorFileError:
    """Why PyTorch refuses a file whose digest or checksums match."""
    if not zipfile.is_zipfile(path):
        return TensorFileError("damaged, or a file with objects other than tensors, which could run code")
    try:
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return TensorFileError("a TorchScript program")
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # any error, as in reading it
        names = []
    if not names:
        return DamagedFileError("truncated or damaged")
    shown = ", ".join(re.sub(r"[^\w.]", "?", name)[:80] for name in names[:3])
    return TensorFileError(f"a file with objects other than tensors, which could run code ({shown})")


def _tensor_bytes(contents: Any) -> Iterator[int]:
    if isinstance(contents, torch.Tensor):
        yield contents.numel() * contents.element_size()
    elif isinstance(contents, Mapping):
        for value in contents.values():
            yield from _tensor_bytes(value)
    elif isinstance(contents, Sequence) and not isinstance(contents, str):
        for value in contents:
            yield from _tensor_bytes(value)
