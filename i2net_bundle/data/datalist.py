"""Which cases a data set has and what it declares of them: ``dataset.json`` of the Decathlon, of nnU-Net v2, or ours.

Every form becomes one `DataList`; nothing else reads ``dataset.json``.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from i2net_bundle.data.declarations import (
    declared_channels,
    declared_classes,
    declared_label_table,
    declared_label_values,
    declared_labels,
)
from i2net_bundle.data.image_files import image_paths, name_cases
from i2net_bundle.data.nnunet import is_nnunet, nnunet_splits
from i2net_bundle.io.channels import RGB
from i2net_bundle.io.findings import DataError, error
from i2net_bundle.io.formats import is_volume, known_suffixes
from i2net_bundle.io.volumes import content_sha256

DATALIST = "dataset.json"
_CORRECT = "Correct it, or prepare the data set again."


@dataclass(frozen=True)
class DataList:
    """What a data list says.

    Attributes:
        path: the file.
        name: of the data set.
        class_names: in the order of their ids, background first; None where the list does not name its labels.
        channels: names of the images' channels; None where the list does not say.
        label_values: what masks of 2D images hold: "instances", "binary" or "classes"; None where it does not say.
        ignore_id: label that counts in no loss or score.
        label_table: built-in label table, or path of a user's, with properties of the classes.
        splits: name of each list to its cases: ``{"image": path, or a list of one path per channel, "label": path}``
            and what else the list says of a case. Paths start at the working directory, as ``path`` does.
    """

    path: Path
    name: str | None = None
    class_names: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    label_values: str | None = None
    ignore_id: int | None = None
    label_table: str | None = None
    splits: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def volumes(self) -> bool:
        """Whether its images are volumes, by the first of them."""
        first = next((case for cases in self.splits.values() for case in cases), None)
        return first is None or is_volume(image_paths(first)[0])

    def cases(self, split: str, required: bool = True) -> list[dict[str, Any]]:
        """Cases of one split, each with a name of its own under "case"; see `name_cases`.

        Args:
            split: "training", "validation", "test", or another list of the file.
            required: whether the split must be there; otherwise a missing one is empty.

        Raises:
            FileNotFoundError: a file that it names is missing.
            ValueError: the split is missing or empty, or a training image is in another split too.
        """
        cases = self.splits.get(split)
        if not cases:
            if required:
                named = ", ".join(self.splits) or "none"
                raise ValueError(f"{self.path} lists no '{split}' cases; it has: {named}.")
            return []
        files = [path for case in cases for path in (*image_paths(case), *([case["label"]] if "label" in case else []))]
        missing = [path for path in files if not Path(path).exists()]
        if missing:
            raise FileNotFoundError(
                f"{self.path} names {len(missing)} files that do not exist, the first is {missing[0]}."
            )
        self.refuse_shared_cases()
        return name_cases(cases)

    def refuse_shared_cases(self) -> None:
        """Compare the training images with those of every other split, by the content of all their files.

        Files are read only where those of another case have the very same numbers of bytes.

        Raises:
            ValueError: an image is in both; names the files.
        """
        sizes: dict[tuple[int, ...], list[tuple[str, list[Path]]]] = defaultdict(list)
        for split, cases in self.splits.items():
            for case in cases:
                files = list(map(Path, image_paths(case)))
                if all(file.is_file() for file in files):
                    sizes[tuple(os.path.getsize(file) for file in files)].append((split, files))
        for candidates in sizes.values():
            if len({split for split, _ in candidates}) < 2 or not any(split == "training" for split, _ in candidates):
                continue
            digests = [(split, files[0], [content_sha256(file) for file in files]) for split, files in candidates]
            for split, image, digest in digests:
                twin = next((other for name, other, same in digests if name == "training" and same == digest), None)
                if split != "training" and twin is not None:
                    raise ValueError(
                        f"{self.path}: {twin.name} of 'training' is the same image as {image.name} of '{split}'. Take "
                        "it out of one of them: scores on images that were trained on say nothing."
                    )


def load_cases(
    dataset_dir: str | Path, split: str, required: bool = True, datalist: str = DATALIST
) -> list[dict[str, Any]]:
    """Cases of one split of a data set, for configurations; see `DataList.cases`.

    Args:
        dataset_dir: folder of the data list.
        split: "training", "validation", "test", or another list of the file.
        required: whether the split must be there; otherwise a missing one is empty.
        datalist: name of the data list in that folder.
    """
    return read_datalist(Path(dataset_dir, datalist)).cases(split, required)


def read_datalist(path: str | Path) -> DataList:
    """Read a data list.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it lists no cases, one of them names no image, or its labels or channels cannot be what it says.
    """
    path = Path(path)
    contents = _json(path)
    try:
        class_names, ignore_id = declared_classes(contents)
        channels = declared_channels(contents)
        label_values = declared_label_values(contents)
        label_table = declared_label_table(contents, path.parent)
    except ValueError as fault:
        raise DataError([error("datalist", path, str(fault), _CORRECT)]) from fault
    splits = _splits(path, contents, len(channels or ("",)))
    name = contents.get("name")
    found = DataList(
        path,
        name if isinstance(name, str) else None,
        class_names,
        channels,
        label_values,
        ignore_id,
        label_table,
        splits,
    )
    return _with_consistent_channels(found)


def read_source(path: str | Path) -> tuple[dict[int, str], dict[str, list[dict[str, Any]]]]:
    """Label ids as a data list writes them, gaps included, and its cases: for preparations, which renumber labels.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it lists no cases, one of them names no image, or its labels are not names.
    """
    path = Path(path)
    contents = _json(path)
    try:
        labels, channels = declared_labels(contents), declared_channels(contents)
    except ValueError as fault:
        raise DataError([error("datalist", path, str(fault), _CORRECT)]) from fault
    return labels, _splits(path, contents, len(channels or ("",)))


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"No {path.name} in {path.parent}. Name the folder that holds it with --dataset_dir, or make it with "
            "`i2net prepare`."
        )
    try:
        contents = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as cause:
        raise DataError([error("datalist", path, f"is not valid JSON ({cause})", _CORRECT)]) from cause
    if not isinstance(contents, dict):
        problem = "is no data list: an object with lists such as 'training' is needed"
        raise DataError([error("datalist", path, problem, _CORRECT)])
    return contents


def _splits(path: Path, contents: Mapping[str, Any], num_channels: int) -> dict[str, list[dict[str, Any]]]:
    splits = _listed_splits(path, contents)
    if not splits and is_nnunet(contents):
        splits = nnunet_splits(path, contents, num_channels)
    if not splits:
        problem = "lists no cases" + (", and imagesTr beside it holds none" if is_nnunet(contents) else "")
        remedy = 'Add lists such as \'training\' of {"image": …, "label": …}, or complete nnU-Net\'s folder.'
        raise DataError([error("datalist", path, problem, remedy)])
    return splits


def _listed_splits(path: Path, contents: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    splits = {}
    for split, entries in contents.items():
        if not (isinstance(entries, list) and entries and _names_image(entries[0])):
            continue  # keywords, sizes, …
        for number, entry in enumerate(entries, 1):
            if not _is_case(entry):
                problem = f'entry {number} of \'{split}\' is not of the form {{"image": path, "label": path}}'
                raise DataError([error("datalist", path, problem, _CORRECT)])
        splits[split] = [_located(path.parent, entry) for entry in entries]
    return splits


def _names_image(entry: Any) -> bool:
    """Whether a list that starts with this is one of cases."""
    if isinstance(entry, str):
        return entry.lower().endswith(known_suffixes())
    return isinstance(entry, Mapping) and "image" in entry


def _is_case(entry: Any) -> bool:
    if isinstance(entry, str):
        return True
    if not isinstance(entry, Mapping) or not isinstance(entry.get("label", ""), str):
        return False
    image = entry.get("image")
    return isinstance(image, str) or (
        isinstance(image, list) and bool(image) and all(isinstance(path, str) for path in image)
    )


def _located(folder: Path, entry: str | Mapping[str, Any]) -> dict[str, Any]:
    case: dict[str, Any] = {"image": entry} if isinstance(entry, str) else dict(entry)
    images = case["image"]
    case["image"] = str(folder / images) if isinstance(images, str) else [str(folder / image) for image in images]
    if isinstance(case["image"], list) and len(case["image"]) == 1:
        (case["image"],) = case["image"]
    if "label" in case:
        case["label"] = str(folder / case["label"])
    return case


def _with_consistent_channels(found: DataList) -> DataList:
    """2D images are RGB, and a case that lists its channels' files has as many as are declared.

    Raises:
        DataError: a case has another number of files than channels, or an image other channels than RGB.
    """
    if not found.volumes:
        if found.channels and len(found.channels) not in (1, len(RGB)):
            problem = f"declares {len(found.channels)} channels, and 2D images are read as RGB"
            raise DataError([error("channels", found.path, problem, "Give volumes, or images of three colours.")])
        return replace(found, channels=RGB)
    for cases in found.splits.values():
        for case in cases:
            count = len(image_paths(case))
            if count > 1 and count != len(found.channels or ()):
                declared = f"{len(found.channels)} channels" if found.channels else "no channels"
                problem = f"the case of {image_paths(case)[0]} has {count} files, and the list declares {declared}"
                remedy = 'Name every channel: "channel_names": {"0": "T2", "1": "ADC"}, with one file for each.'
                raise DataError([error("channels", found.path, problem, remedy)])
    return found
