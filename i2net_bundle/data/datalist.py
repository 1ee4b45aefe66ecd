"""Which cases a data set has: ``dataset.json`` in the Decathlon form, or a folder of images."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i2net_bundle.io.findings import DataError, error
from i2net_bundle.io.formats import IMAGE_SUFFIXES, VOLUME_SUFFIXES, image_stem
from i2net_bundle.io.volumes import content_sha256

DATALIST = "dataset.json"
_MEND = "Correct it, or prepare the data set again."


def load_cases(
    dataset_dir: str | Path, split: str, required: bool = True, datalist: str = DATALIST
) -> list[dict[str, Any]]:
    """Cases of one split.

    Args:
        dataset_dir: folder of the data list; its paths are relative to this folder.
        split: "training", "validation", "test", or another list of the file.
        required: whether the split must be there; otherwise a missing one is empty.
        datalist: name of the data list in that folder.

    Returns:
        ``[{"image": path, "label": path, "case": name}, ...]``, with what else the list says of a case; see
        `name_cases`.

    Raises:
        FileNotFoundError: there is no such data list, or a file it names is missing.
        ValueError: the split is missing or empty, or a training image is in another split too.
    """
    path = Path(dataset_dir, datalist)
    contents = read_datalist(path)
    entries = splits(contents).get(split)
    if not entries:
        if required:
            named = ", ".join(splits(contents)) or "none"
            raise ValueError(f"{path} lists no '{split}' cases; it has: {named}.")
        return []
    cases = [_located(path.parent, entry) for entry in entries]
    missing = [
        case[key] for case in cases for key in ("image", "label") if key in case and not Path(case[key]).exists()
    ]
    if missing:
        raise FileNotFoundError(f"{path} names {len(missing)} files that do not exist, the first is {missing[0]}.")
    refuse_shared_cases(path, contents)
    return name_cases(cases)


def read_datalist(path: str | Path) -> dict[str, Any]:
    """Content of a data list.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is no JSON object, or a case in it names no image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No {path.name} in {path.parent}. Name the folder that holds it with --dataset_dir, or make it with "
            "`i2net prepare`."
        )
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as cause:
        raise DataError([error("datalist", path, f"is not valid JSON ({cause})", _MEND)]) from cause
    if not isinstance(contents, dict):
        problem = "is no data list: an object with lists such as 'training' is needed"
        raise DataError([error("datalist", path, problem, _MEND)])
    for split, entries in splits(contents).items():
        for number, entry in enumerate(entries, 1):
            if not _is_case(entry):
                problem = f'entry {number} of \'{split}\' is not of the form {{"image": path, "label": path}}'
                raise DataError([error("datalist", path, problem, _MEND)])
    return contents


def splits(contents: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The lists of cases of a data list, by name."""
    return {
        name: value for name, value in contents.items() if isinstance(value, list) and value and _names_image(value[0])
    }


def label_names(contents: Mapping[str, Any]) -> dict[int, str]:
    """Names of a data list's label ids, whether it is written as ids to names (Decathlon) or names to ids (nnU-Net)."""
    labels = contents.get("labels") or {}
    if not isinstance(labels, Mapping):
        return {}
    if all(str(key).isdecimal() for key in labels):
        return {int(key): str(name) for key, name in labels.items()}
    return {int(index): str(name) for name, index in labels.items() if str(index).isdecimal()}


def _names_image(entry: Any) -> bool:
    """Whether a list that starts with this is one of cases: other lists of a data list hold keywords, sizes, …."""
    if isinstance(entry, str):
        return entry.lower().endswith(VOLUME_SUFFIXES + IMAGE_SUFFIXES)
    return isinstance(entry, Mapping) and "image" in entry


def _is_case(entry: Any) -> bool:
    if isinstance(entry, str):
        return True
    return _names_image(entry) and all(isinstance(entry[role], str) for role in ("image", "label") if role in entry)


def _located(folder: Path, entry: str | Mapping[str, Any]) -> dict[str, Any]:
    case = {"image": entry} if isinstance(entry, str) else dict(entry)
    return {**case, **{role: str(folder / case[role]) for role in ("image", "label") if role in case}}


def refuse_shared_cases(path: Path, contents: Mapping[str, Any]) -> None:
    """Compare the training images with those of every other split, by content.

    Files are read only where another one has the very same number of bytes.

    Raises:
        ValueError: an image is in both; names the files.
    """
    sizes: dict[int, list[tuple[str, Path]]] = defaultdict(list)
    for split, cases in splits(contents).items():
        for case in cases:
            image = path.parent / (case if isinstance(case, str) else case["image"])
            if image.is_file():
                sizes[os.path.getsize(image)].append((split, image))
    for candidates in sizes.values():
        if len({split for split, _ in candidates}) < 2 or not any(split == "training" for split, _ in candidates):
            continue
        digests = [(split, image, content_sha256(image)) for split, image in candidates]
        for split, image, digest in digests:
            twin = next((other for name, other, same in digests if name == "training" and same == digest), None)
            if split != "training" and twin is not None:
                raise ValueError(
                    f"{path}: {twin.name} of 'training' is the same image as {image.name} of '{split}'. Take it out of "
                    "one of them: scores on images that were trained on say nothing."
                )


def list_images(folder: str | Path, recursive: bool = False) -> list[dict[str, str]]:
    """Images of a folder, in the order of their names: ``[{"image": path, "case": name}, ...]``.

    Hidden files and GlaS annotations (``…_anno.bmp``) are left out.

    Args:
        folder: where to look.
        recursive: whether to look in the folders below it too.

    Raises:
        FileNotFoundError: the folder does not exist or holds no image of a known format.
    """
    suffixes = VOLUME_SUFFIXES + IMAGE_SUFFIXES
    files = sorted(
        path
        for path in Path(folder).glob("**/[!.]*" if recursive else "[!.]*")
        if path.is_file() and path.name.lower().endswith(suffixes)
    )
    files = [path for path in files if not path.stem.endswith("_anno")]
    if not files:
        known = ", ".join(suffixes)
        raise FileNotFoundError(
            f"No image in {folder} (looked for {known}). Name another folder (--dataset_dir of monai.bundle)."
        )
    return name_cases([{"image": str(path)} for path in files])


def holds_images(folder: str | Path) -> bool:
    """Whether a folder, or one below it, holds a file that `list_images` would list."""
    try:
        return bool(list_images(folder, recursive=True))
    except FileNotFoundError:
        return False


def name_cases(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give every case a name of its own under "case": its image's, with as many folders as tell it from the others.

    >>> [case["case"] for case in name_cases([{"image": "p1/ct.nii.gz"}, {"image": "p2/ct.nii.gz"}])]
    ['p1_ct', 'p2_ct']
    """
    parts = [[*Path(case["image"]).parts[:-1], image_stem(case["image"])] for case in cases]
    names = [own[-1] for own in parts]
    for depth in range(2, max((len(own) for own in parts), default=0) + 1):
        names = [
            name if names.count(name) == 1 else "_".join(own[-depth:]) for name, own in zip(names, parts, strict=True)
        ]
    files = [Path(case["image"]).name for case in cases]
    names = [  # a.png beside a.bmp
        name if names.count(name) == 1 else file.replace(".", "_") for name, file in zip(names, files, strict=True)
    ]
    return [{**case, "case": name} for case, name in zip(cases, names, strict=True)]
