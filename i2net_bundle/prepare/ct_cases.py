"""Find the cases of an abdominal CT source: raw BTCV, TransUNet's files, or a Decathlon or nnU-Net folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2net_bundle.data.datalist import DATALIST, read_source
from i2net_bundle.data.image_files import image_paths
from i2net_bundle.prepare.sources import logger, require_complete
from i2net_bundle.prepare.transunet_files import find_transunet

TRAINING_CASES = (5, 6, 7, 9, 10, 21, 23, 24, 26, 27, 28, 30, 31, 33, 34, 37, 39, 40)
TEST_CASES = (8, 22, 38, 36, 32, 2, 29, 3, 1, 4, 25, 35)
"""The 18 and 12 cases of the paper's and TransUNet's split."""

_PAPER_SPLIT = {"training": TRAINING_CASES, "test": TEST_CASES}
_BTCV_NAME = re.compile(r"img(\d{4})\.nii(\.gz)?")
FOLDERS = {"training": "Tr", "validation": "Va", "test": "Ts"}
"""Splits and the endings of their folders."""


@dataclass(frozen=True)
class SourceCase:
    """A case before preparation.

    Attributes:
        name: of the files to write.
        split: "training", "validation" or "test".
        files: role ("image", "label"; "slices" or "volume" of TransUNet) to files.
    """

    name: str
    split: str
    files: Mapping[str, list[Path]]


def find_cases(
    folder: Path, source: str | Path, allow_missing: bool
) -> tuple[str, list[SourceCase], str | dict[int, str]]:
    """Return the kind of the source, its cases, and their numbering: a declared name, or ids and names."""
    volumes = {
        match[1]: path for path in sorted(folder.rglob("img*.nii*")) if (match := _BTCV_NAME.fullmatch(path.name))
    }
    arrays = find_transunet(folder)
    listed = next(
        (path for path in (folder / DATALIST, *sorted(folder.glob(f"[!_.]*/{DATALIST}"))) if path.is_file()), None
    )
    if listed is not None:
        labels, splits = read_source(listed)
        return "data list", _listed_cases(listed, splits), _listed_names(listed, labels)
    if arrays:
        roles = {
            number: {"volume" if files[0].suffix == ".h5" else "slices": files} for number, files in arrays.items()
        }
        return "transunet", _paper_cases(roles, source, allow_missing), "transunet"
    if volumes:
        pairs = {number: {"image": [path], **_btcv_label(path, number)} for number, path in volumes.items()}
        return "btcv", _paper_cases(pairs, source, allow_missing), "btcv"
    raise FileNotFoundError(
        f"{source} is not known: looked for img/img0001.nii.gz (raw BTCV), train_npz and test_vol_h5 (TransUNet), "
        f"and {DATALIST} (Decathlon or nnU-Net form). Pass the folder that contains them."
    )


def _paper_cases(
    found: Mapping[str, Mapping[str, list[Path]]], source: str | Path, allow_missing: bool
) -> list[SourceCase]:
    """Select the cases of the paper's split, in its order."""
    wanted = {f"{number:04d}": split for split, numbers in _PAPER_SPLIT.items() for number in numbers}
    missing = [f"case {number}" for number in wanted if number not in found]
    missing += [f"label of case {number}" for number in wanted if found.get(number, {}).keys() == {"image"}]
    require_complete(source, missing, allow_missing)
    other = sorted(set(found) - set(wanted))
    if other:
        logger.warning(f"{source}: left out, not in the paper's split: cases {', '.join(other)}.")
    complete = {number: files for number, files in found.items() if files.keys() != {"image"}}
    return [
        SourceCase(f"case{number}", split, complete[number]) for number, split in wanted.items() if number in complete
    ]


def _btcv_label(image: Path, number: str) -> dict[str, list[Path]]:
    """Find the label in the sibling folder ``label``, or beside the image."""
    for folder in (image.parent.parent / "label", image.parent):
        for suffix in (".nii.gz", ".nii"):
            if (path := folder / f"label{number}{suffix}").is_file():
                return {"label": [path]}
    return {}


def _listed_cases(datalist: Path, splits: Mapping[str, list[dict[str, Any]]]) -> list[SourceCase]:
    cases = []
    for split, listed in splits.items():
        if split not in FOLDERS:
            logger.warning(f"{datalist}: the list '{split}' is left out; known are {', '.join(FOLDERS)}.")
            continue
        for case in listed:
            images = image_paths(case)
            if len(images) > 1:
                raise ValueError(
                    f"{datalist}: the case of {images[0]} has {len(images)} channels, and this preparation takes CT. A "
                    "data set of several channels is trained on as it is, without `i2net prepare`."
                )
            files = {"image": [Path(images[0])]} | ({"label": [Path(case["label"])]} if "label" in case else {})
            cases.append(SourceCase(str(case.get("case") or Path(images[0]).name.split(".")[0]), split, files))
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{datalist} names {', '.join(twice)} twice. Every case needs a file name of its own.")
    if not cases:
        raise ValueError(f"{datalist} lists no cases under {', '.join(FOLDERS)}. Rename its lists.")
    return cases


def _listed_names(datalist: Path, labels: Mapping[int, str]) -> dict[int, str]:
    names = {index: name for index, name in labels.items() if index != 0}
    if not names:
        raise ValueError(
            f'{datalist} does not name its labels. Add "labels": {{"0": "background", "1": "aorta", ...}}, or '
            "choose a declared numbering with --numbering."
        )
    return names
