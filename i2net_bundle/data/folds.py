"""Cross-validation folds of a data set, as data lists."""

from __future__ import annotations

import os
import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i2net_bundle.data.datalist import DataList, read_datalist, read_header
from i2net_bundle.data.image_files import image_paths
from i2net_bundle.io.json_files import write_json

_COUNTS = ("numTraining", "numTest")


def make_folds(
    found: DataList, count: int, by: str = "image", seed: int = 0, pooled: Sequence[str] = ("training", "validation")
) -> list[list[dict[str, Any]]]:
    """Divide the cases of a data list into parts of similar size, each once in the validation list of a fold.

    The result depends on the cases and the seed, not on their order in the file.

    Args:
        found: the data list.
        count: number of parts.
        by: "image", or "patient" to keep the cases of a patient together.
        seed: seed of the shuffling.
        pooled: the lists whose cases are divided; lists that the file lacks are skipped.

    Raises:
        ValueError: there are too few cases or patients, or a case does not name its patient.
    """
    cases = [case for split in pooled for case in found.splits.get(split, [])]
    cases.sort(key=lambda case: _natural(image_paths(case)[0]))
    groups: dict[object, list[dict[str, Any]]] = defaultdict(list)
    for number, case in enumerate(cases):
        if by == "patient" and case.get("patient") in (None, ""):
            raise ValueError(
                f"{found.path} does not name the patient of every case, so folds by patient cannot be made. Add "
                '"patient" to its cases, or make folds by image.'
            )
        groups[case["patient"] if by == "patient" else number].append(case)
    if len(groups) < count:
        raise ValueError(
            f"{found.path} has {len(groups)} {by}s in {' and '.join(pooled)}, too few for {count} folds. Use fewer "
            "folds."
        )
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    if by == "image":
        return [[case for group in order[part::count] for case in group] for part in range(count)]
    parts: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    for group in sorted(order, key=len, reverse=True):  # stable: patients of equal size stay shuffled
        min(parts, key=len).extend(group)
    return parts


def write_folds(found: DataList, parts: Sequence[Sequence[Mapping[str, Any]]], out_dir: Path) -> list[Path]:
    """Write one data list per part, ``fold_0.json``, …: the part validates, the other parts train.

    Args:
        found: the data list that was divided; its header is kept.
        parts: result of `make_folds`.
        out_dir: folder to write to. The lists name the images by absolute paths.

    Returns:
        paths of the data lists.
    """
    header = {key: value for key, value in read_header(found.path).items() if key not in _COUNTS}
    if found.label_table and found.label_table.lower().endswith(".json"):  # named relative to its data list
        header["label_table"] = os.path.relpath(found.label_table, out_dir)
    paths = []
    for number, part in enumerate(parts):
        others = [case for other in parts if other is not part for case in other]
        lists = {"training": [_located(case) for case in others], "validation": [_located(case) for case in part]}
        paths.append(out_dir / f"fold_{number}.json")
        write_json(paths[-1], {**header, **lists})
    return paths


def fold_lists(
    dataset_dir: str | Path, datalist: str, out_dir: Path, count: int, by: str, seed: int, pooled: Sequence[str]
) -> list[Path]:
    """Divide a data set and write the folds; see `make_folds` and `write_folds`."""
    found = read_datalist(Path(dataset_dir, datalist))
    return write_folds(found, make_folds(found, count, by, seed, pooled), out_dir)


def _located(case: Mapping[str, Any]) -> dict[str, Any]:
    """A case with absolute paths."""
    image = case["image"]
    located = {**case, "image": _absolute(image) if isinstance(image, str) else list(map(_absolute, image))}
    if "label" in case:
        located["label"] = _absolute(case["label"])
    return located


def _absolute(path: str) -> str:
    return os.path.abspath(path)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorting key in which numbers within a name count as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
