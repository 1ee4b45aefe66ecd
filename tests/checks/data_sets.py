"""Data lists to break, and what a check finds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from i2net_bundle.io.findings import Finding

Change = Callable[[dict[str, Any]], Any]


def edited(folder: Path, change: Change) -> Path:
    """The data set after a change of its data list."""
    contents = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    change(contents)
    return written(folder, contents)


def written(folder: Path, contents: Any) -> Path:
    (folder / "dataset.json").write_text(json.dumps(contents), encoding="utf-8")
    return folder


def files_of(folder: Path, split: str, index: int = 0) -> dict[str, Path]:
    case = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))[split][index]
    return {role: folder / case[role] for role in ("image", "label")}


def rules(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(finding.severity.value, finding.rule) for finding in findings]
