"""Compare the size that a header claims with what the file stores, before memory is allocated for it."""

from __future__ import annotations

from pathlib import Path

import psutil

from i2net_bundle.io.findings import DataError, error

DEFLATE_RATIO = 1032
"""Largest compression that deflate (gzip, zip, PNG) can reach."""
MOST_UNCHECKED_BYTES = 2**26
"""A claim up to this size costs little, whatever the file contains."""
_LARGE_BYTES = 2**30
_MOST_PLAUSIBLE_RATIO = 250.0
"""Largest compression of an image that takes more than that; scans reach 5, and label maps of one byte 200."""


def require_stored(path: str | Path, claimed: int, stored: int, ratio: float = DEFLATE_RATIO) -> None:
    """Refuse a header that claims more than its file can hold, or than the memory can.

    Args:
        path: for the message.
        claimed: size of the decoded image in bytes.
        stored: size of the file in bytes.
        ratio: largest compression of its format; 1 for uncompressed data.

    Raises:
        DataError: the file is too small for the claim, or implausibly small, or the available memory is too small.
    """
    if claimed <= MOST_UNCHECKED_BYTES:
        return
    if claimed > ratio * stored:
        problem = (
            f"is truncated or damaged: its header claims {_size(claimed)}, and a file of {_size(stored)} cannot hold "
            "that"
        )
        raise DataError([error("claimed-size", path, problem, "Download or copy the file again.")])
    if claimed > _LARGE_BYTES and claimed > _MOST_PLAUSIBLE_RATIO * stored:
        problem = f"has {_size(stored)} and unpacks to {_size(claimed)}, as no scan does"
        remedy = "If it is a label map, save it with one byte per voxel; otherwise use another copy."
        raise DataError([error("claimed-size", path, problem, remedy)])
    available = psutil.virtual_memory().available
    if claimed > available:
        problem = f"needs {_size(claimed)} of memory, and {_size(available)} are available"
        raise DataError([error("memory", path, problem, "Use a computer with more memory, or crop the image.")])


def _size(count: int) -> str:
    if count >= 1e18:
        return "more than 1 EB"
    units = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
    return next((f"{count / factor:.1f} {unit}" for unit, factor in units if count >= factor), f"{count} bytes")
