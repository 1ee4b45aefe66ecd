"""Is this file what it should be? Findings that name the file, what is wrong, and what to do."""

from i2net_bundle.checks.findings import DataError, Finding, Severity, enforce, errors, warnings

__all__ = ["DataError", "Finding", "Severity", "enforce", "errors", "warnings"]
