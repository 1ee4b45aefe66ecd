"""Walk through the files of a DICOM folder, linked folders included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from i2net_bundle.io import file_listing


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the regular files in a folder and its subfolders, see `i2net_bundle.io.file_listing.files_below`.

    Pipes, devices and broken links are skipped.
    """
    return (path for path in file_listing.files_below(folder) if path.is_file())
