"""Open a preparation's source, a folder or archive, and handle its missing and faulty files."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from i2net_bundle.io.archives import SUFFIXES, extract
from i2net_bundle.io.findings import DataError, Finding, errors, warnings
from i2net_bundle.io.writing import write_csv
from i2net_bundle.workflow.stopping import graceful_stop

logger = logging.getLogger("i2net.prepare")

_MOST_NAMES = 100
_Item = TypeVar("_Item")


@contextmanager
def opened_source(source: str | Path, workspace: str | Path) -> Iterator[Path]:
    """Yield a folder to read from; an archive is extracted for the duration of the block.

    Members outside the folder are refused or skipped by the standard library's filters.

    Args:
        source: folder, or archive (zip, tar, tar.gz) as downloaded.
        workspace: existing folder on whose disk archives are extracted.

    Raises:
        DataError: the archive is damaged, encrypted or implausibly large; or raised within the block, where it names
            the archive, not the temporary folder.
        FileNotFoundError: there is no such file or folder.
        ValueError: the file is not an archive.
        OSError: the disk has no room for the archive's content.
    """
    source = Path(source)
    if source.is_dir():
        yield source
        return
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist. Pass the folder or archive that you downloaded.")
    if not source.name.lower().endswith(SUFFIXES):
        raise ValueError(f"{source} is neither a folder nor an archive ({', '.join(SUFFIXES)}).")
    with tempfile.TemporaryDirectory(prefix=".i2net-extracted-", dir=workspace) as extracted:
        extract(source, extracted)
        try:
            yield Path(extracted)
        except DataError as fault:
            named = [
                dataclasses.replace(finding, file=finding.file.replace(extracted, str(source)))
                for finding in fault.findings
            ]
            raise DataError(named) from fault


def one_at_a_time(items: Collection[_Item], unit: str) -> Iterator[_Item]:
    """Iterate over cases with a progress bar. SIGTERM and SIGINT stop between two of them, and nothing is written.

    Args:
        items: the cases.
        unit: what they are, in the singular.

    Raises:
        Stopped: a signal was received.
    """
    with graceful_stop() as stop:
        for item in tqdm(items, desc=f"{unit}s", unit=unit, disable=None):
            yield item
            stop.exit_if_requested("No data set was written. Run the command again.")


def require_complete(source: str | Path, missing: Sequence[str], allow_missing: bool) -> None:
    """Refuse a source that lacks files, or warn where the user allows it.

    Args:
        source: folder or archive, for the message.
        missing: names of the files.
        allow_missing: whether to continue without them.

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


def settle_findings(findings: Sequence[Finding], allow_missing: bool, out_dir: Path) -> None:
    """Log the findings; unusable files stop the preparation or are listed in ``failed.csv``.

    Args:
        findings: of all files.
        allow_missing: whether to continue without them.
        out_dir: the folder being written.

    Raises:
        DataError: files cannot be used, and ``allow_missing`` is off.
    """
    for finding in warnings(findings):
        logger.warning(str(finding))
    failed = errors(findings)
    if failed and not allow_missing:
        raise DataError(failed)
    for finding in failed:
        logger.error(str(finding))
    write_csv(out_dir / "failed.csv", ["file", "problem", "remedy"], [[f.file, f.problem, f.remedy] for f in failed])
