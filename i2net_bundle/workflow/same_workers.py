"""Workers of a cluster must have the same packages and settings: results would differ."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from typing import Any


class WorkerError(ChildProcessError):
    """A worker cannot do any task: it lacks a file or a package, or has other versions."""


def this_worker() -> str:
    """Name of this worker in messages: its machine and process."""
    return f"Worker on {socket.gethostname()}, process {os.getpid()}"


def require_same_entries(
    kind: str, expected: Mapping[str, Any], found: Mapping[str, Any], worker: str, remedy: str
) -> None:
    """Check that a worker has the entries of the others, such as versions of packages.

    Args:
        kind: what the entries are, in the plural.
        expected: entries of the others, plain data.
        found: entries of the worker, plain data.
        worker: name of the worker, see `this_worker`.
        remedy: what would happen and what to do, for the message.

    Raises:
        WorkerError: entries differ; names the worker and what differs.
    """
    differing = [name for name in {**expected, **found} if _plain(expected.get(name)) != _plain(found.get(name))]
    if differing:
        shown = "; ".join(f"{name} {found.get(name)}, elsewhere {expected.get(name)}" for name in differing)
        raise WorkerError(f"{worker} has other {kind} than the others: {shown}. {remedy}")


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
