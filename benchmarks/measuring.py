"""How time and memory are measured: alternating runs and their medians; memory in a process of its own."""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import dataclasses
import gc
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from tqdm import tqdm

UNIT = "U"
"""Name of the unit among timed functions: the time of 1 TMAC of 3×3 convolution, 64 to 64 channels at 224²."""


@dataclasses.dataclass
class Setting:
    """Settings of a benchmark.

    Args:
        quick: smallest sizes and one round, to see that everything runs.
        work_dir: folder for files; files of an earlier call may be reused.
        volumes: number of CT volumes that the loader reads, 130 MB each.
    """

    quick: bool
    work_dir: Path
    volumes: int = 3

    @property
    def rounds(self) -> int:
        """Timed runs of each function."""
        return 1 if self.quick else 5

    def size(self, side: int) -> int:
        """Side of an image in pixels."""
        return 64 if self.quick else side


@dataclasses.dataclass
class Table:
    """One table of the page: a title, a header, rows of text, and a note on how to read them."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""

    def markdown(self) -> str:
        """The table under its title."""
        lines = [f"### {self.title}", "", *([self.note, ""] if self.note else [])]
        lines += ["| " + " | ".join(row) + " |" for row in [self.header, ["---"] * len(self.header), *self.rows]]
        return "\n".join(lines) + "\n"


class _Unit:
    """A part of the unit's work, small enough to run in every round."""

    def __init__(self) -> None:
        self.image, self.weight = torch.randn(1, 64, 224, 224), torch.randn(64, 64, 3, 3)
        self.macs = 64 * 64 * 9 * 224 * 224

    def __call__(self) -> None:
        with torch.no_grad():
            F.conv2d(self.image, self.weight, padding=1)


def alternating(functions: Mapping[str, Callable[[], Any]], rounds: int, desc: str) -> dict[str, float]:
    """Median seconds of each function, and of the unit, over rounds in which each runs once, after a warm-up round.

    Returns:
        seconds by name; under `UNIT` those of the unit.
    """
    unit = _Unit()
    timed: dict[str, Callable[[], Any]] = {UNIT: unit, **functions}
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for turn in tqdm(range(rounds + 1), desc=desc, leave=False, disable=None):
        for name, function in timed.items():
            started = time.perf_counter()
            function()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    medians[UNIT] *= 1e12 / unit.macs
    return medians


def in_own_process(function: Callable[..., Any], *args: Any) -> Any:
    """Call a module's function in a new process and return what it returns.

    Processes are forked from one that has only imported the libraries, which takes seconds; they inherit no memory of
    this one.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.cases", "i2net_bundle.data"])
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()


def peak_extra_mb(work: Callable[[], Any]) -> float:
    """Peak resident memory of this process during ``work``, minus that before it, in MB."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # without it, the C library keeps freed memory
        ctypes.CDLL(None).malloc_trim(0)
    before = _status_mb("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    except OSError:
        before = _status_mb("VmHWM")  # not allowed: a rise above the old mark still shows
    work()
    return _status_mb("VmHWM") - before


def _status_mb(field: str) -> float:
    """A field of this process's status; ``getrusage`` would include the parent's memory."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) / 1024


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    name = next(
        (line.split(":", 1)[1].strip() for line in _cpu_info() if line.startswith("model name")), platform.processor()
    )
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "pytorch": torch.__version__,
        "load before": round(os.getloadavg()[0], 1),
    }


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []
