"""Images of a case and of a folder, one file per channel where there are several, and names for cases."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i2net_bundle.io.file_listing import files_below
from i2net_bundle.io.findings import DataError, Finding, error, shown_file
from i2net_bundle.io.formats import image_stem, known_suffixes, short_name

logger = logging.getLogger("i2net.checks")

_CHANNEL_FILE = re.compile(r"(.+)_(\d{4})")


def image_paths(case: Mapping[Any, Any]) -> list[str]:
    """Files of a case's image: one, or one per channel."""
    image = case["image"]
    return [str(path) for path in image] if isinstance(image, list | tuple) else [str(image)]


def list_images(folder: str | Path, recursive: bool = False, num_channels: int = 1) -> list[dict[str, Any]]:
    """List the images of a folder, sorted by path: ``[{"image": path or paths, "case": name}, ...]``.

    Hidden files and GlaS annotations (``…_anno.bmp``) are left out. Links are followed; a broken link with the suffix
    of an image is listed, so that its case fails, and any other is reported.

    Args:
        folder: where to look.
        recursive: whether to look in the subfolders too.
        num_channels: channels of an image; with several, ``CASE_0000.nii.gz``, ``CASE_0001.nii.gz``, … are one case.

    Raises:
        DataError: a case lacks the file of a channel.
        FileNotFoundError: the folder does not exist or contains no image of a known format.
    """
    suffixes = known_suffixes()
    files = []
    for path in files_below(folder, recursive):
        if path.name.lower().endswith(suffixes) and not path.stem.endswith("_anno"):
            files.append(path)
        elif not path.exists():
            logger.warning(f"{shown_file(path)}: is a link whose target is missing, and was left out.")
    if not files:
        known = ", ".join(suffixes)
        raise FileNotFoundError(
            f"No image in {folder} (looked for {known}). Choose another folder (--dataset_dir of monai.bundle)."
        )
    return name_cases(group_channels(files, num_channels))


def contains_images(folder: str | Path) -> bool:
    """Whether a folder, or one below it, contains a file that `list_images` would list."""
    try:
        return bool(list_images(folder, recursive=True))
    except FileNotFoundError:
        return False


def group_channels(files: Sequence[str | Path], num_channels: int) -> list[dict[str, Any]]:
    """Files as cases; with several channels ``CASE_0000.nii.gz``, ``CASE_0001.nii.gz``, … of one folder are one.

    A file without such a number is a case of its own, whose channels must be in the file.

    Args:
        files: in any order.
        num_channels: of a case.

    Returns:
        ``[{"image": path}]``, and ``{"image": paths, "case": CASE}`` of groups.

    Raises:
        DataError: a case has files of other channels than these; names it.
    """
    if num_channels == 1:
        return [{"image": str(path)} for path in files]
    groups: dict[Path, dict[int, str]] = {}
    for path in map(Path, files):
        match = _CHANNEL_FILE.fullmatch(image_stem(path))
        key, number = (path.with_name(match[1]), int(match[2])) if match else (path, -1)
        groups.setdefault(key, {})[number] = str(path)
    cases: list[dict[str, Any]] = []
    findings: list[Finding] = []
    for key, numbered in groups.items():
        if set(numbered) == {-1}:
            cases.append({"image": numbered[-1]})
            continue
        expected = {f"{key.name}_{number:04d}": number for number in range(num_channels)}
        missing = [name for name, number in expected.items() if number not in numbered]
        if missing or len(numbered) > num_channels:
            lacks = f"lacks {', '.join(missing)}" if missing else f"has {len(numbered)} files"
            problem = f"the case {key.name} {lacks}, and the network takes {num_channels} channels"
            findings.append(
                error("channel-files", key.parent, problem, "Provide one file per channel, numbered from _0000.")
            )
            continue
        cases.append({"image": [numbered[number] for number in sorted(numbered)], "case": key.name})
    if findings:
        raise DataError(findings)
    return cases


def name_cases(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give every case a unique name under "case": its image's, with as many folders as distinguish it from the others.

    A case that has a name under "case" already keeps it in place of its image's file name. Names of more than 200
    bytes are shortened.

    >>> [case["case"] for case in name_cases([{"image": "p1/ct.nii.gz"}, {"image": "p2/ct.nii.gz"}])]
    ['p1_ct', 'p2_ct']
    """
    images = [image_paths(case)[0] for case in cases]
    stems = [_case_name(case, image) for case, image in zip(cases, images, strict=True)]
    parts = [[*Path(image).parts[:-1], stem] for image, stem in zip(images, stems, strict=True)]
    names = [own[-1] for own in parts]
    for depth in range(2, max((len(own) for own in parts), default=0) + 1):
        count = Counter(names)
        names = [name if count[name] == 1 else "_".join(own[-depth:]) for name, own in zip(names, parts, strict=True)]
    count, files = Counter(names), [Path(image).name for image in images]
    names = [  # a.png beside a.bmp
        name if count[name] == 1 else file.replace(".", "_") for name, file in zip(names, files, strict=True)
    ]
    return [{**case, "case": short_name(name)} for case, name in zip(cases, names, strict=True)]


def _case_name(case: Mapping[str, Any], image: str) -> str:
    """Name given by the case, or the file name without its channel number if there are several channels."""
    name = case.get("case")
    if isinstance(name, str) and name and Path(name).name == name:
        return name
    stem = image_stem(image)
    match = _CHANNEL_FILE.fullmatch(stem)
    return match[1] if match and len(image_paths(case)) > 1 else stem
