"""What a check says: findings that name the file, what is wrong with it and what to do."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Sequence
from enum import StrEnum

from i2net_bundle.io.privacy import shown_path

logger = logging.getLogger("i2net.checks")


class Severity(StrEnum):
    """Whether work can go on."""

    ERROR = "error"
    WARNING = "warning"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fault of one file.

    Attributes:
        severity: errors stop the work on this file, warnings are kept in the run's record.
        rule: the check's name, such as ``sform-qform``.
        file: path as the user gave it; of a folder without names that are a UID or a patient's.
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
    """A finding that stops the work on a file."""
    return Finding(Severity.ERROR, rule, shown_path(str(file)), problem, remedy)


def warning(rule: str, file: object, problem: str, remedy: str) -> Finding:
    """A finding that is reported while work goes on."""
    return Finding(Severity.WARNING, rule, shown_path(str(file)), problem, remedy)


class DataError(ValueError):
    """Files that cannot be used as they are.

    Args:
        findings: the faults; the message is theirs, a line each.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = list(findings)

    def __reduce__(self) -> tuple[type[DataError], tuple[list[Finding]]]:
        return type(self), (self.findings,)  # travels whole from a data loader's process


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those that stop the work."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def warnings(findings: Iterable[Finding]) -> list[Finding]:
    """Those that do not."""
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
