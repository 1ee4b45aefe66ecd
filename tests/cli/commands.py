"""Run commands in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from i2net_bundle.cli import main


def status_of(argv: Sequence[str]) -> Any:
    """What a command exits with: 0 where it just returns."""
    try:
        main(argv)
    except SystemExit as stopped:
        return stopped.code or 0
    return 0
