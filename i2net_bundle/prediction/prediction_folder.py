"""Read the output folder of a prediction: its record, and image and mask of each case."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from i2net_bundle.checks.histology import load_mask
from i2net_bundle.checks.scans import load_volume, load_volume_label, pair_findings
from i2net_bundle.io.findings import enforce, errors
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.labels import LabelClass, classes_of, label_class
from i2net_bundle.prediction.cohort_record import ERROR, RECORD, CaseRecord, image_state, read_cases
from i2net_bundle.prediction.inputs import find_inputs
from i2net_bundle.tasks import Task, task_of

_ASK_FOR_INPUT = "Run the command in the folder where `i2net predict` ran, or pass the images after the output folder."


@dataclass(frozen=True)
class PredictionFolder:
    """Output folder of a prediction.

    Attributes:
        folder: the folder.
        task: kind of task.
        classes: background first.
        options: how the images were read.
        weights: record of each weights file: ``file``, ``sha256``, ``trained_on``.
        complete: whether all images were done.
        cases: the segmented cases.
        failed: the others.
    """

    folder: Path
    task: Task
    classes: tuple[LabelClass, ...]
    options: VolumeOptions | HistologyOptions
    weights: tuple[Mapping[str, Any], ...]
    complete: bool
    cases: tuple[CaseRecord, ...]
    failed: tuple[CaseRecord, ...]


def read_prediction_folder(out_dir: str | Path, series: int | str | None = None) -> PredictionFolder:
    """Read the record of a prediction.

    Args:
        out_dir: output folder of ``i2net predict``.
        series: series of DICOM folders, if it was chosen by its UID, which the record does not contain.

    Raises:
        FileNotFoundError: the folder contains no record.
        ValueError: the record is damaged.
    """
    folder = Path(out_dir)
    path = folder / RECORD
    if not path.is_file():
        raise FileNotFoundError(f"{folder} contains no {RECORD}. Pass the output folder of `i2net predict`.")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        task = task_of(str(record["task"]))
        names = [str(name) for name in record["class_names"]]
        classes = tuple(map(label_class, record["classes"])) if "classes" in record else classes_of(names)
        return PredictionFolder(
            folder,
            task,
            tuple(item if item.color else other for item, other in zip(classes, classes_of(names), strict=True)),
            _options(task, record, series),
            tuple(item for item in record["weights"] if isinstance(item, Mapping)),
            record.get("complete") is True,
            *_cases(folder),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as cause:
        reason = f"{type(cause).__name__}: {cause}"
        raise ValueError(f"{path} is damaged ({reason}). Run `i2net predict` again with --overwrite.") from cause


def locate_images(
    found: PredictionFolder,
    inputs: Sequence[str | Path] = (),
    series: int | str | None = None,
    column: str | None = None,
) -> dict[str, list[str]]:
    """Find the image of each case.

    Args:
        found: the prediction.
        inputs: the inputs of the prediction; without them, the recorded paths are used.
        series: series of DICOM folders.
        column: column of lists among the inputs, see `find_inputs`.

    Returns:
        by case, its files, one per channel.
    """
    channels = len(found.options.channels) if isinstance(found.options, VolumeOptions) else 1
    if inputs:
        listed = find_inputs(inputs, found.task.volumes, series, channels, found.folder, column)
        return {case["case"]: _paths(case["image"]) for case in listed}
    return {case.case: _channel_files(case.image, channels) for case in found.cases}


def load_case(
    found: PredictionFolder, case: CaseRecord, files: Sequence[str] | None
) -> tuple[np.ndarray | Path, np.ndarray, np.ndarray | None]:
    """Read image and mask of a case.

    Args:
        found: the prediction.
        case: the case.
        files: its image, one file per channel.

    Returns:
        the first channel (X, Y, Z) of a volume, or the path of a 2D image; the mask, uint8, on the same grid; and the
        affine of a volume to RAS mm.

    Raises:
        DataError: a file cannot be used, or image and mask are on different grids.
        OSError: the image or the mask is missing.
        ValueError: the image has changed, or the record names a file outside the folder.
    """
    mask_path = mask_path_of(found.folder, case)
    if not files or not Path(files[0]).exists():
        raise FileNotFoundError(f"its image was not found. {_ASK_FOR_INPUT}")
    if case.image_state != image_state({"image": list(files)}):
        raise ValueError("its image has changed since the prediction. Segment it again")
    if isinstance(found.options, HistologyOptions):
        values, _ = load_mask(mask_path, HistologyOptions(label_values="binary" if len(found.classes) == 2 else None))
        _require_known_classes(values, found.classes)
        return Path(files[0]), values.astype(np.uint8), None
    image, _ = load_volume(list(files), found.options)
    label = load_mask_volume(mask_path, found.classes, found.options.header)
    values = np.asarray(image.dataobj)
    first = nib.Nifti1Image(values[..., 0] if values.ndim == 4 else values, image.affine, image.header)
    enforce(errors(pair_findings(files[0], first, mask_path, label, VolumeOptions())))
    return np.asarray(first.dataobj), np.asarray(label.dataobj), np.asarray(image.affine, np.float64)


def load_mask_volume(path: Path, classes: Sequence[LabelClass], header: str | None = None) -> nib.Nifti1Image:
    """Read a mask of a volume.

    Args:
        path: its file.
        classes: background first.
        header: "sform" or "qform", if the two disagree.

    Returns:
        the mask (X, Y, Z), uint8, with its affine to RAS mm.

    Raises:
        DataError: the file cannot be used.
        ValueError: the mask contains other classes.
    """
    label, _ = load_volume_label(path, VolumeOptions(header=header))
    _require_known_classes(np.asarray(label.dataobj), classes)
    return label


def _cases(folder: Path) -> tuple[tuple[CaseRecord, ...], tuple[CaseRecord, ...]]:
    """Segmented and failed cases; those of a repeated name count once, with their last line."""
    cases = {case.case: case for case in read_cases(folder) if isinstance(case.case, str)}.values()
    return tuple(case for case in cases if case.status != ERROR), tuple(case for case in cases if case.status == ERROR)


def _options(task: Task, record: Mapping[str, Any], series: int | str | None) -> VolumeOptions | HistologyOptions:
    kind = VolumeOptions if task.volumes else HistologyOptions
    known = {field.name for field in fields(kind)} - {"classes", "channels", "ignore_id", "num_classes", "series"}
    reading = {name: value for name, value in record["reading"].items() if name in known}
    if not task.volumes:
        return HistologyOptions(**reading)
    recorded = record["reading"].get("series")
    chosen = series if series is not None else recorded if isinstance(recorded, int) else None
    return replace(VolumeOptions(**reading), channels=tuple(record["channels"]), series=chosen)


def _paths(image: str | Sequence[str]) -> list[str]:
    return [image] if isinstance(image, str) else list(image)


def _channel_files(first: str, channels: int) -> list[str]:
    """Files of a case whose first one is recorded: ``CASE_0000`` is followed by ``CASE_0001``, …."""
    path = Path(first)
    stem, mark, suffix = path.name.rpartition("_0000")
    if channels == 1 or not mark:
        return [first]
    return [str(path.with_name(f"{stem}_{number:04d}{suffix}")) for number in range(channels)]


def mask_path_of(folder: Path, case: CaseRecord) -> Path:
    """Path of the mask of a case.

    Args:
        folder: output folder of the prediction.
        case: the case.

    Raises:
        FileNotFoundError: the mask is missing.
        ValueError: the record names a file outside the folder.
    """
    names = [str(name) for name in case.files if "_mask." in Path(str(name)).name and not str(name).endswith(".dcm")]
    if not names:
        raise FileNotFoundError("its record names no mask")
    path = folder / names[0]
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"its record names a mask outside the folder: {names[0]}")
    if not path.is_file():
        raise FileNotFoundError(f"its mask {names[0]} is missing")
    return path


def _require_known_classes(mask: np.ndarray, classes: Sequence[LabelClass]) -> None:
    if mask.size and int(mask.max()) >= len(classes):
        raise ValueError(f"its mask contains class {int(mask.max())}, and there are {len(classes)} classes")
