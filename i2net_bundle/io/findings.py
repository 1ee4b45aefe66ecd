"""Findings of a check: the file, the fault and the remedy."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Sequence
from enum import StrEnum

from i2net_bundle.io.privacy import shown_path

logger = logging.getLogger("i2net.checks")


class Severity(StrEnum):
    """Whether the file can be used."""

    ERROR = "error"
    WARNING = "warning"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fault of one file.

    Attributes:
        severity: an error excludes the file; a warning is kept in the run's record.
        rule: the check's name, such as ``sform-qform``.
        file: path as the user gave it; UIDs and patients' names in a folder's path are hidden.
        problem: what is wrong, with the values found.
        remedy: what to do, a whole sentence.
    """

    severity: Severity
    rule: str
    file: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}. {self.remedy}"


def error(rule: str, file: object, problem: str, remedy: str) -> Finding:
    """Create a finding that excludes a file."""
    return Finding(Severity.ERROR, rule, shown_path(str(file)), problem, remedy)


def warning(rule: str, file: object, problem: str, remedy: str) -> Finding:
    """Create a finding that is reported only."""
    return Finding(Severity.WARNING, rule, shown_path(str(file)), problem, remedy)


class DataError(ValueError):
    """Files that cannot be used as they are.

    Args:
        findings: the faults; the message has one line for each.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = list(findings)

    def __reduce__(self) -> tuple[type[DataError], tuple[list[Finding]]]:
        return type(self), (self.findings,)  # keeps the findings across a data loader's processes


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Select the errors."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def warnings(findings: Iterable[Finding]) -> list[Finding]:
    """Select the warnings."""
    return [finding for finding in findings if finding.severity is Severity.WARNING]


def enforce(findings: Sequence[Finding]) -> None:
    """Log the warnings.

    Raises:
        DataError: there are errors.
    """
    for finding in warnings(findings):
        logger.warning(str(finding))
    if errors(findings):
        raise DataError(errors(findings))
