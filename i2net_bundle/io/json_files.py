"""Write JSON files completely, and read back those of this bundle that may be missing or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from i2net_bundle.io.writing import written_whole


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, completely or not at all.

    Raises:
        DiskFullError: the file does not fit on the disk. An earlier file is kept.
    """
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json_or_empty(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one if the file is missing, damaged, or contains anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
