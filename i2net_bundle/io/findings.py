"""Findings of a check: the file, the fault and the remedy."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from i2net_bundle.io.printable import printable, printable_lines
from i2net_bundle.io.privacy import shown_path, without_identifiers

logger = logging.getLogger("i2net.checks")

_MOST_CHARACTERS = 200
"""Length of a library's message that is repeated."""


class Severity(StrEnum):
    """Whether the file can be used."""

    ERROR = "error"
    WARNING = "warning"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fault of one file. Its texts are printable: control characters of names and headers are escaped.

    Attributes:
        severity: an error excludes the file; a warning is kept in the run's record.
        rule: the check's name, such as ``sform-qform``.
        file: the path, see `shown_file`.
        problem: what is wrong, with the values found.
        remedy: what to do, a whole sentence.
    """

    severity: Severity
    rule: str
    file: str
    problem: str
    remedy: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", printable(self.file))
        object.__setattr__(self, "problem", printable(self.problem))
        object.__setattr__(self, "remedy", printable_lines(self.remedy))  # it may list what to choose from

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}. {self.remedy}"


def shown_file(path: str | Path) -> str:
    """Return a path as findings show it: UIDs and patients' names in a folder's path hidden, all of it printable."""
    return printable(shown_path(path))


def error(rule: str, file: object, problem: str, remedy: str) -> Finding:
    """Create a finding that excludes a file."""
    return Finding(Severity.ERROR, rule, shown_file(str(file)), problem, remedy)


def warning(rule: str, file: object, problem: str, remedy: str) -> Finding:
    """Create a finding that is reported only."""
    return Finding(Severity.WARNING, rule, shown_file(str(file)), problem, remedy)


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


@contextmanager
def reading(path: str | Path, rule: str = "unreadable") -> Iterator[None]:
    """Replace any error of a library in the block by a finding that names the file.

    Parsers raise whatever damaged bytes lead them to: a `KeyError`, an `OverflowError`, a `RecursionError`.

    Args:
        path: the file that the block reads.
        rule: of the finding.

    Raises:
        DataError: the block failed.
    """
    try:
        yield
    except DataError:
        raise
    except MemoryError as cause:
        problem = "needs more memory than is available"
        raise DataError([error("memory", path, problem, "Use a computer with more memory, or crop it.")]) from cause
    except OSError as cause:
        if not cause.strerror:  # a library's own report of damage
            raise DataError([_damaged(path, rule, cause)]) from cause
        problem, remedy = f"cannot be read ({cause.strerror})", "Check the path, and your permissions to the file."
        raise DataError([error(rule, path, problem, remedy)]) from cause
    except Exception as cause:
        raise DataError([_damaged(path, rule, cause)]) from cause


def _damaged(path: str | Path, rule: str, cause: Exception) -> Finding:
    said = without_identifiers(" ".join(str(cause).split()).partition(". ")[0][:_MOST_CHARACTERS])
    reason = f"{type(cause).__name__}: {said}" if said else type(cause).__name__
    problem = f"cannot be read: it is truncated or damaged ({reason})"
    return error(rule, path, problem, "Download or copy the file again.")
