"""Read inputs in a child process with limits of time and memory; start a new child when one dies."""

from __future__ import annotations

import logging
import multiprocessing
import resource
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

Run = Callable[[str, Path], str]
LIMIT_BYTES = 1 << 30
"""Growth of the resident memory that one tiny input may cause."""
_ADDRESS_SPACE = 8 << 30


@dataclass(frozen=True)
class Outcome:
    """What became of an input.

    Attributes:
        verdict: "read", "refused", or a failure: "crash", "hang", "memory", or the name of the uncaught error.
        detail: where it happened.
    """

    verdict: str
    detail: str = ""

    @property
    def is_failure(self) -> bool:
        """Whether the input was neither read nor refused in words."""
        return self.verdict not in ("read", "refused")


class Reader:
    """A child process that reads one input at a time.

    Args:
        make_run: called once in each child; returns what reads an input, such as `fuzzing.targets.Targets.run`.
        limit_s: time for one input.
    """

    def __init__(self, make_run: Callable[[], Run], limit_s: float = 30) -> None:
        self.make_run, self.limit_s = make_run, limit_s
        self._child: Any = None
        self._pipe: Any = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._pipe.send(None)
            self._child.join(self.limit_s)
        self._stop()

    def read(self, kind: str, target: Path) -> Outcome:
        """Read an input in the child; see `fuzzing.targets.Targets.run`."""
        if self._child is None:
            self._start()
        try:
            self._pipe.send((kind, target))
            if not self._pipe.poll(self.limit_s):
                self._stop()
                return Outcome("hang", f"no answer after {self.limit_s} s")
            outcome: Outcome = self._pipe.recv()
            return outcome
        except (EOFError, OSError):
            self._child.join()
            status = self._child.exitcode
            self._stop()
            return Outcome("crash", f"exit status {status}")

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._child = context.Process(target=_serve, args=(other, self.make_run))
        self._child.start()
        other.close()
        self._pipe.recv()  # it has imported everything

    def _stop(self) -> None:
        if self._child is None:
            return
        if self._child.is_alive():
            for process in psutil.Process(self._child.pid).children(recursive=True):
                process.kill()
        self._child.kill()
        self._child.join()
        self._pipe.close()
        self._child = self._pipe = None


def _serve(pipe: Connection, make_run: Callable[[], Run]) -> None:
    logging.disable(logging.CRITICAL)
    run = make_run()
    limit = psutil.Process().memory_info().vms + _ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    pipe.send(None)
    while True:
        request = pipe.recv()
        if request is None:
            return
        before = _reset_peak()
        try:
            outcome = Outcome(run(*request))
        except Exception as error:
            outcome = Outcome(type(error).__name__, traceback.format_exc(limit=-6))
        growth = _peak() - before
        if growth > LIMIT_BYTES:
            outcome = Outcome("memory", f"{growth / 1e9:.1f} GB, then: {outcome.verdict} {outcome.detail}")
        pipe.send(outcome)


def _reset_peak() -> int:
    """Set the peak of the resident memory back to its present value (Linux); returns it in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
