"""Find the images in files and folders, and give each a case name that does not identify a patient."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from i2net_bundle.data.image_files import group_channels, image_paths, list_images, name_cases
from i2net_bundle.io.counted import counted
from i2net_bundle.io.dicom.trees import dicom_folders
from i2net_bundle.io.formats import image_stem, is_volume, known_suffixes
from i2net_bundle.io.privacy import is_identifying, shown_path
from i2net_bundle.prediction.input_lists import Named, named_paths

logger = logging.getLogger("i2net.prediction")

_MAX_NAMES = 3


def find_inputs(
    inputs: Sequence[str | Path],
    volumes: bool,
    series: int | str | None = None,
    num_channels: int = 1,
    out_dir: str | Path | None = None,
    column: str | None = None,
) -> list[dict[str, Any]]:
    """Find the images in files, folders, lists and patterns. An image that is named twice is one case.

    Linked folders are searched like others. An image that a list names and that does not exist is a case that fails.

    Args:
        inputs: images, folders that contain images and DICOM series at any depth (see `dicom_folders`), lists of both,
            and patterns; see `named_paths`.
        volumes: find volumes; otherwise 2D images.
        series: number or UID of a series; each input folder is then searched for this one series as a whole.
        num_channels: channels of a volume. With several, ``CASE_0000.nii.gz``, ``CASE_0001.nii.gz``, … are one case.
        out_dir: output folder; its files are not inputs if it is inside an input folder or match a pattern.
        column: column of CSV lists, and key of JSON lists, that names the images.

    Returns:
        ``[{"image": path, or one per channel, "case": name, "shown": path or name}, ...]``. A DICOM folder whose path
        contains a UID or a patient's name is shown under a neutral case name: ``dicom_1``, ....

    Raises:
        DataError: the file of a channel is missing.
        FileNotFoundError: an input does not exist, or a folder contains no image.
        ValueError: a file is of the other kind, an input folder is the output folder, or a list cannot be read.
    """
    found: list[str] = []
    for named in named_paths(inputs, column):
        path = named.path
        if named.matched and out_dir is not None and path.resolve().is_relative_to(Path(out_dir).resolve()):
            continue
        if not path.exists() and not _is_listed_image(named):
            place = f"{named.place}: " if named.place else ""
            raise FileNotFoundError(f"{place}{shown_path(path)} does not exist. Check the path.")
        if path.is_dir():
            found += _images(path, volumes, series, out_dir)
        else:
            found.append(str(path))
    if not found:
        raise FileNotFoundError(f"No input names an image outside the output folder {out_dir}. Check the inputs.")
    once: dict[str, str] = {}
    for image in found:
        once.setdefault(_real_folder(image), image)
    for image in once.values():
        if is_volume(image) != volumes:
            kind, wanted = ("a 2D image", "volumes") if volumes else ("a volume", "2D images")
            raise ValueError(f"{image} is {kind}, but the task reads {wanted}. Choose another task with --task.")
    return _shown(name_cases(group_channels(list(once.values()), num_channels if volumes else 1)))


def _is_listed_image(named: Named) -> bool:
    return bool(named.place) and named.path.name.lower().endswith(known_suffixes())


def print_hidden_names(cases: Sequence[dict[str, Any]]) -> None:
    """Print which folders have neutral names. This is the only place that shows the folders."""
    hidden = [case for case in cases if case["shown"] != image_paths(case)[0]]
    if hidden:
        print("DICOM folders with a UID or a patient's name in their path. The results only contain the short names:")
    for case in hidden:
        print(f"  {case['case']}: {image_paths(case)[0]}")


def _images(folder: Path, volumes: bool, series: int | str | None, out_dir: str | Path | None) -> list[str]:
    """Images in a folder and in the folders that links in it point to; without those in the output folder.

    A folder without images is returned itself if volumes are wanted: reading it reports what it contains.
    """
    out = None if out_dir is None else Path(out_dir).resolve()
    if out == folder.resolve():
        raise ValueError(
            f"{folder} is both an input folder and the output folder, so masks would become inputs. Choose another "
            "output folder; it may be inside the input folder."
        )

    def is_result(path: str | Path) -> bool:
        return out is not None and Path(path).resolve().is_relative_to(out) and not folder.resolve().is_relative_to(out)

    found = [path for path in _image_files(folder) if not is_result(path)]
    if volumes:
        pictures = [path for path in found if not is_volume(path)]
        files = [path for path in found if path not in pictures]
        series_folders = [path for path in dicom_folders(folder, files) if not is_result(path)]
        files += [str(folder)] if series_folders and series is not None else map(str, series_folders)
        if files:
            _report_skipped(folder, [path for path in pictures if not _is_below_any(path, series_folders)])
            found = files
    if found:
        return found
    if not volumes:
        list_images(folder, recursive=True)  # its error names the formats
        raise FileNotFoundError(f"{folder} contains no image outside the output folder {out_dir}.")
    return [str(folder)]


def _report_skipped(folder: Path, pictures: Sequence[str]) -> None:
    """Warn of 2D images beside volumes. Those in the folder of a DICOM series are reported when it is read."""
    if pictures:
        names = [Path(path).relative_to(folder).as_posix() for path in pictures]
        shown = [name for name in names if not is_identifying(name)][:_MAX_NAMES]
        listed = f" ({', '.join(shown)}{', …' if len(names) > len(shown) else ''})" if shown else ""
        logger.warning(f"{shown_path(folder)}: skips {counted(len(names), 'picture')} beside the volumes{listed}.")


def _is_below_any(path: str, folders: Sequence[Path]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


def _real_folder(image: str) -> str:
    """Path of an image with the links to folders resolved; a link to a file is a case of its own."""
    return os.path.realpath(image) if os.path.isdir(image) else str(Path(image).parent.resolve() / Path(image).name)


def _image_files(folder: Path) -> list[str]:
    try:
        return [item["image"] for item in list_images(folder, recursive=True)]
    except FileNotFoundError:
        return []


def _shown(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add how each case is shown, and give neutral names to DICOM folders whose own names identify a patient."""
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
