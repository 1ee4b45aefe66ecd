"""Files and folders that a user names -> the images to segment, each under a name that identifies no patient."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from i2net_bundle.data.image_files import group_channels, holds_images, image_paths, list_images, name_cases
from i2net_bundle.io.dicom.trees import dicom_folders
from i2net_bundle.io.formats import image_stem, is_volume
from i2net_bundle.io.privacy import is_identifying


def find_inputs(
    inputs: Sequence[str | Path], volumes: bool, series: int | str | None = None, num_channels: int = 1
) -> list[dict[str, Any]]:
    """Images of files and folders, each under a name of its own; what is named twice is there once.

    Args:
        inputs: images, and folders that hold images and DICOM series at any depth; see `dicom_folders`.
        volumes: whether volumes are wanted; otherwise 2D images.
        series: one was chosen, by number or UID: it is looked for in each input folder with all that lies below it.
        num_channels: of a volume; files ``CASE_0000.nii.gz``, ``CASE_0001.nii.gz``, … are one case where there are
            several.

    Returns:
        ``[{"image": path, or one per channel, "case": name, "shown": path or name}, ...]``. A DICOM folder whose path
        holds a UID or a patient's name is shown by the case's name, which is neutral then: ``dicom_1``, ....

    Raises:
        DataError: a case lacks the file of a channel.
        FileNotFoundError: an input does not exist, or a folder holds no image.
        ValueError: a file is of the other kind.
    """
    found: list[str] = []
    for name in inputs:
        path = Path(name)
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist.")
        if path.is_file():
            found.append(str(path))
        elif volumes:
            found += [str(image) for image in _volumes(path, series)]
        else:
            found += [item["image"] for item in list_images(path, recursive=True)]
    once: dict[str, str] = {}
    for image in found:
        once.setdefault(os.path.abspath(image), image)
    for image in once.values():
        if is_volume(image) != volumes:
            kind, wanted = ("a 2D image", "volumes") if volumes else ("a volume", "2D images")
            raise ValueError(f"{image} is {kind}, and the task reads {wanted}. Choose another with --task.")
    return _shown(name_cases(group_channels(list(once.values()), num_channels if volumes else 1)))


def tell_hidden(cases: Sequence[dict[str, Any]]) -> None:
    """Print, and only that, which folders the neutral names stand for."""
    hidden = [case for case in cases if case["shown"] != image_paths(case)[0]]
    if hidden:
        print("DICOM folders whose names hold a UID or a patient's name, which are written nowhere:")
    for case in hidden:
        print(f"  {case['case']}: {image_paths(case)[0]}")


def _volumes(folder: Path, series: int | str | None) -> list[str | Path]:
    """Volume files and DICOM cases of a folder; the folder where there are none: its reading says what it holds."""
    files = [item["image"] for item in list_images(folder, recursive=True)] if holds_images(folder) else []
    folders = dicom_folders(folder, files)
    if folders and series is not None:
        folders = [folder]
    return [*files, *folders] or [folder]


def _shown(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say how cases are shown, and give DICOM folders neutral names where their own identify a patient."""
    taken = {case["case"] for case in cases}
    neutral = (name for name in map("dicom_{}".format, itertools.count(1)) if name not in taken)
    shown = []
    for case in cases:
        name = case["case"]
        image = image_paths(case)[0]
        own, parts = image_stem(image), Path(image).parts
        identifying = [part for part in (own, *parts) if is_identifying(part)]
        if not (identifying and Path(image).is_dir()):
            shown.append({**case, "shown": image})
            continue
        if own in identifying or any(part in name for part in identifying):
            name = next(neutral)
        shown.append({**case, "case": name, "shown": name})
    return shown
