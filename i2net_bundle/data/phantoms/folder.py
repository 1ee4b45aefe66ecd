"""Write the folder of a phantom set: one image and label per case, and ``dataset.json`` last."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from tqdm import tqdm


def write_dataset(
    out_dir: str | PathLike[str],
    num_cases: Mapping[str, int],
    write_case: Callable[[str, int], Mapping[str, str]],
    header: Mapping[str, Any],
) -> Path:
    """Write every case of a set, then its Decathlon ``dataset.json``. Existing sets are never overwritten.

    Args:
        out_dir: folder of the set, created if missing.
        num_cases: number of cases of each split ("training", "validation", "test").
        write_case: writes one case, given its split and its index across the splits; returns the paths of "image" and
            "label" relative to ``out_dir``.
        header: further keys of ``dataset.json`` (name, description, modality, labels, …).

    Returns:
        the path of ``dataset.json``.

    Raises:
        FileExistsError: ``out_dir`` already contains a ``dataset.json``.
    """
    dataset_json = Path(out_dir) / "dataset.json"
    if dataset_json.exists():
        raise FileExistsError(
            f"{out_dir} already contains a dataset.json. Delete the folder, or choose another out_dir."
        )
    splits: dict[str, list[dict[str, str]]] = {split: [] for split in num_cases}
    order = [split for split, count in num_cases.items() for _ in range(count)]
    for index, split in enumerate(tqdm(order, desc=header["name"], unit="case", disable=None)):
        pair = write_case(split, index)
        splits[split].append({kind: f"./{path}" for kind, path in pair.items()})
    counts = {"numTraining": len(splits["training"]), "numTest": len(splits["test"])}
    contents = {**header, "licence": "CC0-1.0", **counts, **splits}
    dataset_json.parent.mkdir(parents=True, exist_ok=True)
    dataset_json.write_text(json.dumps(contents, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return dataset_json
