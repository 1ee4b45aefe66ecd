"""Where a preparation reads from and writes to: folders or archives in, pictures read whole, one whole folder out."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from i2net_bundle.checks import DataError, Finding
from i2net_bundle.checks.findings import error
from i2net_bundle.checks.histology import (
    TRAINING_UM_PER_PX,
    HistologyOptions,
    load_image,
    load_mask,
    pair_findings,
)

logger = logging.getLogger("i2net.prepare")

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_AS_DISTRIBUTED = "Take the file as distributed, or download it again."
_MOST_NAMES = 100


@contextmanager
def opened_source(source: str | Path, workspace: str | Path) -> Iterator[Path]:
    """Give a folder to read from; an archive is extracted for as long as the block lasts.

    Members that would land outside the folder are refused or left out by the standard library's own filters.

    Args:
        source: folder, or archive (zip, tar, tar.gz) as downloaded.
        workspace: existing folder on whose disk archives are extracted.

    Raises:
        DataError: raised within the block; files of an archive are named by the archive, not by where they were
            extracted.
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
                shutil.unpack_archive(source, extracted, "zip")  # takes no filter: it leaves such members out itself
            else:
                shutil.unpack_archive(source, extracted, filter="data")
        except (shutil.ReadError, zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as cause:
            raise ValueError(f"{source} is a damaged archive ({cause}). Download it again.") from cause
        try:
            yield Path(extracted)
        except DataError as fault:
            named = [
                dataclasses.replace(finding, file=finding.file.replace(extracted, str(source)))
                for finding in fault.findings
            ]
            raise DataError(named) from fault


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


def require_complete(source: str | Path, missing: Sequence[str], allow_missing: bool) -> None:
    """Refuse a source that lacks files, or warn where the user allows it.

    Args:
        source: folder or archive, for the message.
        missing: names of the files.
        allow_missing: whether to go on without them.

    Raises:
        FileNotFoundError: files are missing and ``allow_missing`` is off.
    """
    if not missing:
        return
    more = f" and {len(missing) - _MOST_NAMES} more" if len(missing) > _MOST_NAMES else ""
    lacks = f"{source} lacks {len(missing)} files: {', '.join(missing[:_MOST_NAMES])}{more}."
    if not allow_missing:
        raise FileNotFoundError(f"{lacks} Complete the download, or go on without them with --allow-missing.")
    logger.warning("%s Going on without them.", lacks)


def read_pair(image: Path, label: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read an image and its annotation.

    Returns:
        ``read_rgb(image)``, (H, W, 3), and ``read_ids(label)``, (H, W).

    Raises:
        DataError: with the faults of both files, or their sizes differ.
    """
    findings: list[Finding] = []
    arrays = []
    for path, read in ((image, read_rgb), (label, read_ids)):
        try:
            arrays.append(read(path))
        except DataError as fault:
            findings += fault.findings
    if not findings:
        sizes = [(array.shape[1], array.shape[0]) for array in arrays]
        findings = pair_findings(image, sizes[0], label, sizes[1])
    if findings:
        raise DataError(findings)
    return arrays[0], arrays[1]


def read_rgb(path: Path) -> np.ndarray:
    """Read an image to its end: RGB, opaque RGBA or palette.

    Returns:
        (H, W, 3), uint8.

    Raises:
        DataError: the file cannot be read, is not 8-bit colour, or partly transparent.
    """
    # any µm/px goes here; naming it keeps the file's resolution, which means nothing in these sets, from being judged
    pixels, doubts = load_image(path, HistologyOptions(um_per_px=TRAINING_UM_PER_PX))
    with Image.open(path) as image:
        mode = image.mode
    if doubts or mode not in ("RGB", "RGBA", "P"):
        problem = doubts[0].problem if doubts else f"is not RGB (mode {mode})"
        raise DataError([error("not-rgb", path, problem, _AS_DISTRIBUTED)])
    return pixels


def read_ids(path: Path) -> np.ndarray:
    """Read an annotation of one channel to its end; a palette file gives its indices.

    Returns:
        (H, W), uint8, or uint16 where ids exceed 255.

    Raises:
        DataError: the file cannot be read, has colours, or holds nothing but 0 and 255.
    """
    try:
        ids, _ = load_mask(path, HistologyOptions(label_values="instances"))
    except DataError as fault:
        # whoever prepares a public set can declare nothing about its annotations
        findings = [dataclasses.replace(finding, remedy=_AS_DISTRIBUTED) for finding in fault.findings]
        raise DataError(findings) from fault
    return ids.astype(np.uint8 if ids.max() <= 255 else np.uint16)


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
