"""Compare what two runs of a command wrote, bit for bit apart from times."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import torch

from i2net_bundle.io.writing import TEMPORARY
from i2net_bundle.networks.tensor_files import load_tensors
from i2net_bundle.workflow.folder_lock import LOCK_NAME

_TIMES = {"seconds", "created", "started", "finished", "date", "since", "time"}
_NOT_COMPARED = {"tensorboard"}
"""Folders with files that contain the time of each value."""


def content(path: Path) -> Any:
    """Content of a file without the times in it, to compare; fails if the file cannot be read."""
    if path.suffix == ".pt":
        return _untimed(load_tensors(path))
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return [_untimed(row) for row in csv.DictReader(file)]
    if path.suffix in (".json", ".jsonl"):
        text = path.read_text(encoding="utf-8")
        return _untimed(
            [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)
        )
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _untimed(item) for name, item in value.items() if name not in _TIMES}
    return [_untimed(item) for item in value] if isinstance(value, list | tuple) else value


def equal(found: Any, expected: Any) -> bool:
    """Bitwise equality, of tensors too."""
    if isinstance(expected, torch.Tensor):
        return isinstance(found, torch.Tensor) and found.dtype == expected.dtype and torch.equal(found, expected)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(equal(found[name], expected[name]) for name in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(equal, found, expected))
    return bool(found == expected)


def files_in(folder: Path) -> dict[str, Path]:
    """Files below a folder by their relative path, without TensorBoard's."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path for name, path in found.items() if _NOT_COMPARED.isdisjoint(Path(name).parts)}


def unreadable(folder: Path) -> list[str]:
    """Files under their final names that cannot be read."""
    broken = []
    for name, path in files_in(folder).items():
        if not (path.name.startswith(TEMPORARY) or path.name == LOCK_NAME or TEMPORARY in name):
            try:
                content(path)
            except Exception as fault:
                broken.append(f"{name} ({type(fault).__name__})")
    return broken


def differences(folder: Path, expected: Path) -> list[str]:
    """What a folder lacks, has left over, or contains otherwise than expected."""
    own, its = files_in(folder), files_in(expected)
    beside = [entry.name for entry in folder.parent.iterdir() if entry.name.startswith(TEMPORARY)]
    found = [f"{name} is missing" for name in its if name not in own]
    found += [f"{name} is left over" for name in (*(name for name in own if name not in its), *beside)]
    found += [f"{name} differs" for name in its if name in own and not equal(content(own[name]), content(its[name]))]
    return found
