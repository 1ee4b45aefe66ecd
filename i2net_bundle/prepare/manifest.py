"""Record a preparation: every file read and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import i2net_bundle
from i2net_bundle.io.writing import file_sha256

MANIFEST_NAME = "manifest.json"
_PACKAGES = ("monai", "nibabel", "numpy", "pillow", "SimpleITK", "torch")


class Manifest:
    """Collects a preparation's cases and writes ``manifest.json``.

    Args:
        preparation: "synapse", "glas" or "cityscapes".
        options: the settings it ran with.
    """

    def __init__(self, preparation: str, options: Mapping[str, Any]) -> None:
        self.preparation, self.options = preparation, dict(options)
        self.cases: dict[str, dict[str, Any]] = {}

    def add(
        self, case: str, sources: Mapping[str, str], out_dir: Path, outputs: Mapping[str, Path], **facts: Any
    ) -> None:
        """Record one case.

        Args:
            case: its name.
            sources: role ("image", "label") to the SHA-256 of the file it came from.
            out_dir: the data set's folder; paths are recorded relative to it.
            outputs: role to the file that was written; it is hashed here.
            facts: further facts: shape, spacing_mm, label_counts, ….
        """
        self.cases[case] = {
            "sources": {role: {"sha256": digest} for role, digest in sources.items()},
            "outputs": {
                role: {"path": path.relative_to(out_dir).as_posix(), "sha256": file_sha256(path)}
                for role, path in outputs.items()
            },
            **facts,
        }

    def write(self, out_dir: Path) -> Path:
        """Write ``manifest.json`` into the data set's folder and return its path."""
        content = {
            "preparation": self.preparation,
            "options": self.options,
            "versions": {"i2net_bundle": i2net_bundle.__version__, **{name: version(name) for name in _PACKAGES}},
            "cases": dict(sorted(self.cases.items())),
        }
        path = out_dir / MANIFEST_NAME
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path
