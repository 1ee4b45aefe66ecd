"""Tasks for the workers of a Dask cluster; they import nothing, so that a worker starts quickly."""

from __future__ import annotations

import os
import time
from typing import Any


def task(what: str, seconds: float = 0.0) -> Any:
    """Return the text, raise it, or kill the worker."""
    time.sleep(seconds)
    if what == "kill":
        os.kill(os.getpid(), 9)
    if what == "eat":
        eaten = []
        while True:
            eaten.append(bytearray(20_000_000))
            time.sleep(0.05)
    if what == "raise":
        raise ValueError(what)
    return what
