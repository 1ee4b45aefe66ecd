"""The tables of docs/faults.md, and what a fault prints, in the same form."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2net_bundle.io.findings import Finding, Severity
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "faults.md"
ERROR, WARNING, NOTHING = "E", "W", "–"

Make = Callable[[Path], "Printed"]
"""Makes a fault in an empty folder, and returns what it prints."""


@dataclass(frozen=True)
class Printed:
    """What a fault prints: `ERROR` or `WARNING` and its message, or `NOTHING`."""

    severity: str
    text: str = ""


@dataclass(frozen=True)
class Row:
    """A row of the page; "…" in its message stands for any text."""

    section: str
    fault: str
    severity: str
    message: str

    def matches(self, text: str) -> bool:
        """Whether the message is this text."""
        return bool(re.fullmatch(".*".join(map(re.escape, self.message.split("…"))), text, re.DOTALL))


def rows() -> list[Row]:
    """Rows of all tables of the page."""
    return list(_rows())


def _rows() -> Iterator[Row]:
    section = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith(("| fault |", "|---")):
            fault, severity, message = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            yield Row(section, fault, severity, message.replace("\\|", "|"))


def refused(call: Callable[[], Any]) -> Printed:
    """The message of the error that a call ends with."""
    try:
        call()
    except Exception as error:
        return Printed(ERROR, str(error))
    raise AssertionError("nothing was refused")


def found(findings: list[Finding], which: int = -1) -> Printed:
    """One of the findings, or nothing if there is none."""
    if not findings:
        return Printed(NOTHING)
    finding = findings[which]
    return Printed(ERROR if finding.severity is Severity.ERROR else WARNING, str(finding))


def logged(call: Callable[[], Any], logger: str = "i2net") -> Printed:
    """The last warning that a call logs, or nothing."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger(logger).addHandler(handler)
    try:
        call()
    finally:
        logging.getLogger(logger).removeHandler(handler)
    return Printed(WARNING, records[-1].getMessage()) if records else Printed(NOTHING)
