"""Checks of files: findings that name the file, the fault and the remedy."""

from i2net_bundle.checks.cases import CheckedCases, FindingsRecord, check_case, stop_if_failed

__all__ = ["CheckedCases", "FindingsRecord", "check_case", "stop_if_failed"]
