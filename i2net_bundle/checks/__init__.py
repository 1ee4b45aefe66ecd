"""Is this file what it should be? Findings that name the file, what is wrong, and what to do."""

from i2net_bundle.checks.cases import CheckedCases, FindingsRecord, check_case, stop_if_failed
from i2net_bundle.checks.ct import CTOptions
from i2net_bundle.checks.findings import DataError, Finding, Severity, enforce, errors, warnings
from i2net_bundle.checks.histology import HistologyOptions

__all__ = [
    "CTOptions",
    "CheckedCases",
    "DataError",
    "Finding",
    "FindingsRecord",
    "HistologyOptions",
    "Severity",
    "check_case",
    "enforce",
    "errors",
    "stop_if_failed",
    "warnings",
]
