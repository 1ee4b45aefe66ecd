"""Inputs that stand for several images: lists in text, CSV or JSON, and patterns such as ``scans/*/ct.nii.gz``."""

from __future__ import annotations

import csv
import glob
import io
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2net_bundle.io.counted import counted
from i2net_bundle.io.formats import known_suffixes

logger = logging.getLogger("i2net.prediction")

COLUMN = "image"
"""Column of a CSV list, and key of the objects in a JSON list, that names the images."""

_LISTS = (".txt", ".csv", ".json")
_MAX_BYTES = 2**26  # some 600,000 paths


@dataclass(frozen=True)
class Named:
    """A file or folder that the inputs name.

    Attributes:
        path: the file or folder.
        place: list and entry that name it, such as ``cases.csv, line 3``; empty if it is an input itself.
        matched: whether it matches a pattern.
    """

    path: Path
    place: str = ""
    matched: bool = False


def named_paths(inputs: Sequence[str | Path], column: str | None = None) -> list[Named]:
    """Replace lists by the paths in them, and patterns by the paths that match.

    A list is a file ``.txt`` (a path per line; lines that start with # are comments), ``.csv`` (with a header) or
    ``.json`` (an array of paths, or of objects). Relative paths start at the folder of the list. Text with ``*``, ``?``
    or ``[`` is a pattern if nothing has that name; ``**`` matches folders at any depth.

    Args:
        inputs: files, folders, lists and patterns.
        column: column of the paths in CSV lists, and key of the objects in JSON lists; default `COLUMN`.

    Raises:
        FileNotFoundError: nothing matches a pattern.
        ValueError: a list cannot be read or names nothing, or ``column`` is given without such a list.
    """
    paths = [Path(name) for name in inputs]
    if column is not None and not any(path.suffix.lower() in (".csv", ".json") for path in paths):
        raise ValueError("--column is for lists in CSV or JSON, and no input is one. Leave it out.")
    found: list[Named] = []
    for path in paths:
        if path.suffix.lower() in _LISTS and path.is_file():
            found += _read_list(path, column or COLUMN)
        elif glob.has_magic(str(path)) and not path.exists():
            found += _matches(str(path))
        else:
            found.append(Named(path))
    return found


def _matches(pattern: str) -> list[Named]:
    matches = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
    usable = [path for path in matches if path.is_dir() or path.name.lower().endswith(known_suffixes())]
    if not usable:
        raise FileNotFoundError(f"{pattern} matches no image or folder. Check the pattern.")
    if len(usable) < len(matches):
        skipped = counted(len(matches) - len(usable), "file that is no image", "files that are no images")
        logger.warning(f"{pattern}: skips {skipped}.")
    return [Named(path, matched=True) for path in usable]


def _read_list(path: Path, column: str) -> list[Named]:
    """Read a list of paths.

    Raises:
        ValueError: the file is too large, is no list, or names nothing.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{path} has more than {_MAX_BYTES >> 20} MB, too much for a list of images. Split it.")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as cause:
        raise ValueError(f"{path} is no list of images: it is not text in UTF-8. Save it as UTF-8.") from cause
    read = {".txt": _lines, ".csv": _rows, ".json": _items}[path.suffix.lower()]
    found = []
    for place, value in read(path, content, column):
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ValueError(f"{place}: names no image. Write the path of an image or a folder there.")
        found.append(Named(path.parent / value.strip(), place))
    if not found:
        raise ValueError(f"{path} names no image. Add their paths, or leave the list out.")
    return found


def _lines(path: Path, content: str, column: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield f"{path}, line {number}", line


def _rows(path: Path, content: str, column: str) -> Iterator[tuple[str, Any]]:
    reader = csv.DictReader(io.StringIO(content, newline=""))
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        if column not in names:
            listed = ", ".join(names)
            raise ValueError(f"{path} has no column '{column}'; its columns are {listed}. Choose one with --column.")
        reader.fieldnames = names
        for row in reader:
            yield f"{path}, line {reader.line_num}", row[column]
    except csv.Error as cause:
        raise ValueError(f"{path} is not valid CSV ({cause}). Correct it.") from cause


def _items(path: Path, content: str, column: str) -> Iterator[tuple[str, Any]]:
    try:
        items = json.loads(content)
    except (ValueError, RecursionError) as cause:
        raise ValueError(f"{path} is not valid JSON ({cause}). Correct it.") from cause
    if not isinstance(items, list):
        raise ValueError(
            f"{path} is no list of images. Write a JSON array of paths, or of objects with the key 'image'."
        )
    for number, item in enumerate(items, 1):
        place = f"{path}, item {number}"
        value = item
        if isinstance(item, dict):
            if column not in item:
                raise ValueError(f"{place}: has no '{column}'. Choose another key with --column.")
            value = item[column]
        for part in value if isinstance(value, list) else [value]:  # a file per channel
            yield place, part
