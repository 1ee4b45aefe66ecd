"""Read data lists: ``dataset.json`` of the Decathlon, of nnU-Net v2, or of this bundle.

All forms become a `DataList`. No other module reads ``dataset.json``.
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
    declared_um_per_px,
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
    """Contents of a data list.

    Attributes:
        path: the file.
        name: name of the data set.
        class_names: names in the order of the ids, background first; None if the list does not name its labels.
        channels: names of the images' channels; None if undeclared.
        label_values: contents of the masks of 2D images: "instances", "binary" or "classes"; None if undeclared.
        ignore_id: label that is excluded from losses and scores.
        label_table: built-in label table, or the path of a user's, with properties of the classes.
        um_per_px: micrometres per pixel of 2D images; None if undeclared.
        licence: licence of the data in words; None if undeclared.
        splits: cases by the name of their list: ``{"image": path, or a list of one path per channel, "label": path}``
            and any further keys of a case. Paths are relative to the working directory, as ``path`` is.
    """

    path: Path
    name: str | None = None
    class_names: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    label_values: str | None = None
    ignore_id: int | None = None
    label_table: str | None = None
    um_per_px: float | None = None
    licence: str | None = None
    splits: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def volumes(self) -> bool:
        """Whether the images are volumes, judged by the first one."""
        first = next((case for cases in self.splits.values() for case in cases), None)
        return first is None or is_volume(image_paths(first)[0])

    def cases(self, split: str, required: bool = True) -> list[dict[str, Any]]:
        """Return the cases of one split, each with a unique name under "case"; see `name_cases`.

        Args:
            split: "training", "validation", "test", or another list in the file.
            required: whether a missing or empty split is an error.

        Raises:
            FileNotFoundError: a listed file is missing.
            ValueError: the split is missing or empty, or a training image is also in another split.
        """
        cases = self.splits.get(split)
        if not cases:
            if required:
                named = ", ".join(self.splits) or "none"
                raise ValueError(f"{self.path} lists no '{split}' cases; its lists: {named}.")
            return []
        files = [path for case in cases for path in (*image_paths(case), *([case["label"]] if "label" in case else []))]
        missing = [path for path in files if not Path(path).exists()]
        if missing:
            raise FileNotFoundError(
                f"{self.path} lists {len(missing)} file{'s' if len(missing) > 1 else ''} that cannot be found, "
                f"the first is {missing[0]}."
            )
        self.refuse_shared_cases()
        return name_cases(cases)

    def refuse_shared_cases(self) -> None:
        """Refuse training images that are also in another split, comparing the content of all their files.

        Files are read only if another case's files have the same sizes.

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
                        f"{self.path}: {twin.name} of 'training' is the same image as {image.name} of '{split}'. "
                        "Remove it from one of them: scores on training images are meaningless."
                    )


def load_cases(
    dataset_dir: str | Path, split: str, required: bool = True, datalist: str = DATALIST
) -> list[dict[str, Any]]:
    """Return the cases of one split of a data set; see `DataList.cases`. Used by configurations.

    Args:
        dataset_dir: folder of the data list.
        split: "training", "validation", "test", or another list in the file.
        required: whether a missing or empty split is an error.
        datalist: file name of the data list.
    """
    return read_datalist(Path(dataset_dir, datalist)).cases(split, required)


def dataset_name(dataset_dir: str | Path, datalist: str = DATALIST) -> str | None:
    """Return the name of a data set, or None if its data list has none. Used by configurations.

    Args:
        dataset_dir: folder of the data list.
        datalist: file name of the data list.
    """
    return read_datalist(Path(dataset_dir, datalist)).name


def read_datalist(path: str | Path) -> DataList:
    """Read a data list.

    Raises:
        FileNotFoundError: the file does not exist.
        DataError: it lists no cases, a case names no image, or its labels or channels are invalid.
    """
    path = Path(path)
    contents = _json(path)
    try:
        class_names, ignore_id = declared_classes(contents)
        channels = declared_channels(contents)
        label_values = declared_label_values(contents)
        label_table = declared_label_table(contents, path.parent)
        um_per_px = declared_um_per_px(contents)
    except ValueError as fault:
        raise DataError([error("datalist", path, str(fault), _CORRECT)]) from fault
    splits = _splits(path, contents, len(channels or ("",)))
    name = contents.get("name")
    licence = contents.get("licence", contents.get("license"))  # as the Decathlon and nnU-Net spell it
    found = DataList(
        path,
        name if isinstance(name, str) else None,
        class_names,
        channels,
        label_values,
        ignore_id,
        label_table,
        um_per_px,
        licence if isinstance(licence, str) else None,
        splits,
    )
    return _with_consistent_channels(found)


def read_source(path: str | Path) -> tuple[dict[int, str], dict[str, list[dict[str, Any]]]]:
    """Read a data list for preparation, which renumbers labels.

    Returns:
        names by label id as written, gaps included; and the splits, see `DataList`.

    Raises:
        FileNotFoundError: the file does not exist.
        DataError: it lists no cases, a case names no image, or its labels are not names.
    """
    path = Path(path)
    contents = _json(path)
    try:
        labels, channels = declared_labels(contents), declared_channels(contents)
    except ValueError as fault:
        raise DataError([error("datalist", path, str(fault), _CORRECT)]) from fault
    return labels, _splits(path, contents, len(channels or ("",)))


def read_header(path: str | Path) -> dict[str, Any]:
    """Return what a data list says besides its cases: name, labels, channels and any other key, as written.

    Raises:
        FileNotFoundError: the file does not exist.
        DataError: it is not a data list.
    """
    path = Path(path)
    contents = _json(path)
    return {key: value for key, value in contents.items() if key not in _listed_splits(path, contents)}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"No {path.name} in {path.parent}. Pass the folder that contains it with --dataset_dir, or create it with "
            "`i2net prepare`."
        )
    try:
        contents = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as cause:
        raise DataError([error("datalist", path, f"is not valid JSON ({cause})", _CORRECT)]) from cause
    if not isinstance(contents, dict):
        problem = "is not a data list, which is an object with lists such as 'training'"
        raise DataError([error("datalist", path, problem, _CORRECT)])
    return contents


def _splits(path: Path, contents: Mapping[str, Any], num_channels: int) -> dict[str, list[dict[str, Any]]]:
    splits = _listed_splits(path, contents)
    if not splits and is_nnunet(contents):
        splits = nnunet_splits(path, contents, num_channels)
    if not splits:
        problem = "lists no cases" + (", and its imagesTr is empty or missing" if is_nnunet(contents) else "")
        remedy = 'Add lists such as \'training\' of {"image": …, "label": …}, or complete the nnU-Net folder.'
        raise DataError([error("datalist", path, problem, remedy)])
    return splits


def _listed_splits(path: Path, contents: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    splits = {}
    for split, entries in contents.items():
        if not (isinstance(entries, list) and entries and _names_image(entries[0])):
            continue  # keywords, sizes, …
        for number, entry in enumerate(entries, 1):
            if not _is_case(entry):
                problem = f'entry {number} of \'{split}\' does not have the form {{"image": path, "label": path}}'
                raise DataError([error("datalist", path, problem, _CORRECT)])
        splits[split] = [_located(path.parent, entry) for entry in entries]
    return splits


def _names_image(entry: Any) -> bool:
    """Whether a list whose first entry is ``entry`` lists cases."""
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
    """Set the channels of 2D images to RGB, and check that each case has one file per declared channel.

    Raises:
        DataError: the numbers of files and channels differ, or a 2D image has channels other than RGB.
    """
    if not found.volumes:
        if found.channels and len(found.channels) not in (1, len(RGB)):
            problem = f"declares {len(found.channels)} channels, but 2D images are read as RGB"
            raise DataError([error("channels", found.path, problem, "Use volumes, or images with three colours.")])
        return replace(found, channels=RGB)
    for cases in found.splits.values():
        for case in cases:
            count = len(image_paths(case))
            if count > 1 and count != len(found.channels or ()):
                declared = f"{len(found.channels)} channels" if found.channels else "no channels"
                problem = f"the case of {image_paths(case)[0]} has {count} files, but the list declares {declared}"
                remedy = 'Name every channel, one per file: "channel_names": {"0": "T2", "1": "ADC"}.'
                raise DataError([error("channels", found.path, problem, remedy)])
    return found
