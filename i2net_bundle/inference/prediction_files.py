"""Many inputs -> a folder of masks, statistics and pictures, and the record of how they were made."""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

import i2net_bundle
from i2net_bundle.checks import CTOptions, DataError
from i2net_bundle.checks.cases import write_csv
from i2net_bundle.checks.identifiers import is_identifying, without_identifiers
from i2net_bundle.checks.volumes import is_volume
from i2net_bundle.data.datalist import holds_images, image_stem, list_images, name_cases
from i2net_bundle.data.dicom_folders import dicom_folders
from i2net_bundle.files import write_rows, written_whole
from i2net_bundle.inference.dicom_seg import write_dicom_seg
from i2net_bundle.inference.masks import mask_name, write_mask
from i2net_bundle.inference.polygons import write_geojson
from i2net_bundle.inference.predictor import Prediction, Predictor
from i2net_bundle.inference.statistics import flat_rows
from i2net_bundle.reports.pictures import show_prediction

logger = logging.getLogger("i2net.inference")

FAILED, RECORD = "failed.csv", "prediction.json"


def predict_files(
    inputs: Sequence[str | Path], out_dir: str | Path, predictor: Predictor, pictures: bool = True
) -> list[str]:
    """Segment files and folders; writes a mask for each, and the statistics of all.

    Beside each mask lie its uncertainty and probabilities where ``predictor`` gives them, a picture, and for histology
    polygons. A file that cannot be used does not stop the others: it is listed in ``failed.csv``. What stands for the
    name of a DICOM folder that is not to be written is printed.

    Args:
        inputs: images, folders of images, and folders of DICOM series.
        out_dir: folder to write.
        predictor: network and preprocessing.
        pictures: whether to draw them.

    Returns:
        the images that failed, as `find_inputs` shows them.

    Raises:
        FileNotFoundError: an input does not exist, or a folder holds no image.
        ValueError: inputs are not of the task's kind.
    """
    out_dir = Path(out_dir)
    series = predictor.options.series if isinstance(predictor.options, CTOptions) else None
    cases = find_inputs(inputs, predictor.is_ct, series)
    _tell_hidden(cases)
    statistics: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    failed: list[list[str]] = []
    for case in tqdm(cases, desc="predicting", unit="image", disable=None):
        started = time.perf_counter()
        try:
            prediction = predictor.predict(case["image"], case["case"])
            write_prediction(prediction, out_dir, pictures)
        except (DataError, OSError, torch.OutOfMemoryError) as fault:
            reason = without_identifiers(str(fault)) if Path(case["image"]).is_dir() else str(fault)
            logger.error(f"{case['shown']}: {reason}")
            failed.append([case["shown"], reason])
            continue
        statistics[prediction.case] = prediction.statistics
        seconds[prediction.case] = round(time.perf_counter() - started, 3)
    write_csv(out_dir / FAILED, ["image", "reason"], failed)
    _write_statistics(out_dir, statistics)
    versions = {name: version(name) for name in ("torch", "monai", "nibabel", "SimpleITK")}
    record = {
        **predictor.describe(),
        "images": {case["case"]: case["shown"] for case in cases},
        "seconds": seconds,
        "failed": [row[0] for row in failed],
        "versions": {"i2net_bundle": i2net_bundle.__version__, **versions},
    }
    _write_json(out_dir / RECORD, record)
    return [row[0] for row in failed]


def find_inputs(inputs: Sequence[str | Path], is_ct: bool, series: int | str | None = None) -> list[dict[str, Any]]:
    """Images of files and folders, each under a name of its own.

    Args:
        inputs: images, and folders that hold images and DICOM series at any depth; see `dicom_folders`.
        is_ct: volumes are wanted, else images.
        series: one was chosen, by number or UID: it is looked for in each input folder with all that lies below it.

    Returns:
        ``[{"image": path, "case": name, "shown": path or name}, ...]``. A DICOM folder whose path holds a UID or a
        patient's name is shown by the case's name, which is neutral then: ``dicom_1``, ....

    Raises:
        FileNotFoundError: an input does not exist, or a folder holds no image.
        ValueError: a file is of the other kind.
    """
    found: list[dict[str, Any]] = []
    for name in inputs:
        path = Path(name)
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist.")
        if path.is_file():
            found.append({"image": str(path)})
        elif is_ct:
            found += [{"image": str(image)} for image in _volumes(path, series)]
        else:
            found += [{"image": item["image"]} for item in list_images(path, recursive=True)]
    for item in found:
        if is_volume(item["image"]) != is_ct:
            kind, task = ("an image", "synapse reads CT volumes") if is_ct else ("a volume", "glas reads 2D images")
            raise ValueError(f"{item['image']} is {kind}, and the task {task}. Choose it with --task.")
    return _shown(name_cases(found))


def _volumes(folder: Path, series: int | str | None) -> list[str | Path]:
    """Volume files and DICOM cases of a folder; the folder where there are none: its reading says what it holds."""
    files = [item["image"] for item in list_images(folder, recursive=True)] if holds_images(folder) else []
    folders = dicom_folders(folder, files)
    if folders and series is not None:
        folders = [folder]
    return [*files, *folders] or [folder]


def _shown(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say how cases are shown, and give DICOM folders neutral names where their own tell of a patient."""
    taken = {case["case"] for case in cases}
    neutral = (name for name in map("dicom_{}".format, itertools.count(1)) if name not in taken)
    shown = []
    for case in cases:
        name = case["case"]
        own, parts = image_stem(case["image"]), Path(case["image"]).parts
        identifying = [part for part in (own, *parts) if is_identifying(part)]
        if not (identifying and Path(case["image"]).is_dir()):
            shown.append({**case, "shown": case["image"]})
            continue
        if own in identifying or any(part in name for part in identifying):
            name = next(neutral)
        shown.append({**case, "case": name, "shown": name})
    return shown


def _tell_hidden(cases: Sequence[dict[str, Any]]) -> None:
    """Print, and only that, which folders the neutral names stand for."""
    hidden = [case for case in cases if case["shown"] != case["image"]]
    if hidden:
        print("DICOM folders whose names hold a UID or a patient's name, which are written nowhere:")
    for case in hidden:
        print(f"  {case['case']}: {case['image']}")


def write_prediction(prediction: Prediction, out_dir: Path, pictures: bool = True) -> list[Path]:
    """Write what was predicted for one image; returns the files.

    Args:
        prediction: of `Predictor.predict`.
        out_dir: folder to write.
        pictures: whether to draw it.
    """
    name = mask_name(prediction.image_path, prediction.case)
    num_classes = len(prediction.class_names)
    write_mask(
        prediction.mask, prediction.image_path, out_dir / name, affine=prediction.affine, num_classes=num_classes
    )
    written = [out_dir / name]
    if prediction.image_path.is_dir():
        written += _write_dicom_seg(prediction, out_dir / f"{prediction.case}_mask.dcm")
    for kind, values in _files_of_maps(prediction).items():
        path = out_dir / f"{prediction.case}_{kind}"
        written.append(_write_map(path, values, prediction.affine))
    if prediction.affine is None and num_classes == 2:
        path = out_dir / f"{prediction.case}.geojson"
        write_geojson(prediction.mask, path, prediction.class_names[1], prediction.statistics.get("um_per_px"))
        written.append(path)
    if pictures and prediction.picture is not None:
        path = out_dir / "pictures" / f"{prediction.case}.png"
        figure = show_prediction(*prediction.picture, prediction.class_names, title=prediction.case)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
        written.append(path)
    return written


def _write_dicom_seg(prediction: Prediction, path: Path) -> list[Path]:
    """The mask as DICOM-SEG where that can be; the NIfTI mask is there already."""
    try:
        write_dicom_seg(prediction.mask, prediction.image_path, path, prediction.class_names, prediction.series)
    except (ImportError, ValueError) as cause:
        logger.warning(f"no DICOM-SEG of {prediction.case}, only NIfTI: {without_identifiers(str(cause))}")
        return []
    return [path]


def _files_of_maps(prediction: Prediction) -> dict[str, np.ndarray]:
    """Maps by the ending of their file: probabilities of all classes go into one."""
    probabilities = [values for name, values in prediction.maps.items() if name.startswith("probability")]
    maps = {name: values for name, values in prediction.maps.items() if not name.startswith("probability")}
    return maps | ({"probabilities": np.stack(probabilities, axis=-1)} if probabilities else {})


def _write_map(path: Path, values: np.ndarray, affine: np.ndarray | None) -> Path:
    """A volume's map as NIfTI in float32; an image's as 8-bit PNG (0 to 1 in 255 steps), of several classes as NPZ."""
    if affine is not None:
        target = path.with_name(f"{path.name}.nii.gz")
        with written_whole(target) as temporary:
            nib.Nifti1Image(values.astype(np.float32), affine).to_filename(temporary)
    elif values.ndim == 2:
        target = path.with_name(f"{path.name}.png")
        with written_whole(target) as temporary:
            Image.fromarray(np.rint(values.astype(np.float32) * 255).astype(np.uint8)).save(temporary)
    else:
        target = path.with_name(f"{path.name}.npz")
        with written_whole(target) as temporary:
            np.savez_compressed(temporary, probabilities=values)
    return target


def _write_statistics(out_dir: Path, statistics: dict[str, Any]) -> None:
    _write_json(out_dir / "statistics.json", statistics)
    rows = [row for case, values in statistics.items() for row in flat_rows(case, values)]
    write_rows(out_dir / "statistics.csv", rows)


def _write_json(path: Path, content: Any) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
