"""Report a data set whose labels all contain nothing but background; a single such label is common and not reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i2net_bundle.io.findings import Finding, shown_file, warning

_RULE = "empty-label"


def empty_label_findings(path: str | Path, is_empty: bool) -> list[Finding]:
    """Note that a label contains only background, for `with_empty_labels_joined`."""
    if not is_empty:
        return []
    return [warning(_RULE, path, "contains only background", "Check that this image shows none of the classes.")]


def with_empty_labels_joined(
    findings: Sequence[Finding], lists: Sequence[Sequence[Mapping[str, Any]]]
) -> list[Finding]:
    """Replace the notes of single empty labels by one warning for each list of cases in which all labels are empty.

    Args:
        findings: of all cases.
        lists: the cases of each split.
    """
    empty = {finding.file for finding in findings if finding.rule == _RULE}
    joined = [finding for finding in findings if finding.rule != _RULE]
    for cases in lists:
        labels = list(dict.fromkeys(shown_file(case["label"]) for case in cases if "label" in case))
        if labels and empty.issuperset(labels):
            others = f", and so do all {len(labels)} labels of its list" if len(labels) > 1 else ""
            remedy = "Check that these are the labels, and how they were exported; nothing can be learned from them."
            joined.append(warning(_RULE, labels[0], f"contains only background{others}", remedy))
    return joined
