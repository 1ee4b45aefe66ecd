"""How many threads and how much memory a process may use."""

from __future__ import annotations

import re

import torch

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_bytes(text: str) -> int:
    """Read an amount of memory.

    Raises:
        ValueError: it is no number with a unit, or less than a byte.

    >>> parse_bytes("8GB"), parse_bytes("1.5 GiB")
    (8000000000, 1610612736)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]i?B|B?)\s*", text, re.IGNORECASE)
    unit = match[2].upper() if match else ""
    amount = int(float(match[1]) * _UNITS.get("" if unit == "B" else unit, 0)) if match else 0
    if amount < 1:
        raise ValueError(f"'{text}' is no amount of memory. Write a number and a unit, such as 8GB or 500MB.")
    return amount


def limit_process(threads: int | None = None, memory: int | None = None) -> None:
    """Limit the threads of PyTorch and the memory of this process; None leaves either as it is.

    What does not fit into the limit fails like on a computer with less memory. Memory of a GPU, and files that are
    mapped, do not count.

    Args:
        threads: number of threads.
        memory: in bytes.

    Raises:
        ValueError: this system cannot limit memory, or the process uses more already.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if memory is None:
        return
    try:
        from resource import RLIMIT_DATA, getrlimit, setrlimit
    except ImportError as cause:
        raise ValueError("This system cannot limit the memory of a process. Leave --memory out.") from cause
    hard = getrlimit(RLIMIT_DATA)[1]
    try:
        setrlimit(RLIMIT_DATA, (memory, hard))
    except (OSError, ValueError) as cause:
        raise ValueError(f"The memory cannot be limited to {memory / 1e9:.1f} GB ({cause}).") from cause
