"""Many inputs -> a folder of masks, statistics and pictures, and the record of how they were made."""

from __future__ import annotations

import glob
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
from i2net_bundle.checks.cases import write_findings
from i2net_bundle.data.image_files import image_paths
from i2net_bundle.figures.case_panels import show_prediction
from i2net_bundle.io.dicom.dicom_seg import write_dicom_seg
from i2net_bundle.io.findings import DataError, Finding
from i2net_bundle.io.masks import mask_name, write_mask
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.io.privacy import without_identifiers
from i2net_bundle.io.writing import write_csv, write_rows, written_whole
from i2net_bundle.prediction.inputs import find_inputs, tell_hidden
from i2net_bundle.prediction.polygons import write_geojson
from i2net_bundle.prediction.predictor import Prediction, Predictor
from i2net_bundle.prediction.statistics import flat_rows
from i2net_bundle.workflow.errors import root_cause

logger = logging.getLogger("i2net.prediction")

FAILED, RECORD = "failed.csv", "prediction.json"
_OF_CASE = ("{}_mask.*", "{}_entropy.*", "{}_variance.*", "{}_probabilities.*", "{}.geojson", "pictures/{}.png")
"""Patterns of all that `write_prediction` can write for a case."""


def predict_files(
    inputs: Sequence[str | Path],
    out_dir: str | Path,
    predictor: Predictor,
    pictures: bool = True,
    overwrite: bool = False,
) -> list[str]:
    """Segment files and folders; writes a mask for each, and the statistics of all.

    Beside each mask lie its uncertainty and probabilities where ``predictor`` gives them, a picture, and for histology
    polygons. A file that cannot be used does not stop the others: it is listed in ``failed.csv``. What the checks found
    is kept in ``data_findings.csv``. What stands for the name of a DICOM folder that is not to be written is printed.

    Args:
        inputs: images, folders of images, and folders of DICOM series.
        out_dir: folder to write.
        predictor: network and preprocessing.
        pictures: whether to draw them.
        overwrite: whether earlier files of the same cases go, all of them, before work starts.

    Returns:
        the images that failed, as `find_inputs` shows them.

    Raises:
        FileNotFoundError: an input does not exist, or a folder holds no image.
        ValueError: inputs are not of the task's kind, or would be replaced.
    """
    out_dir = Path(out_dir)
    series = predictor.options.series if isinstance(predictor.options, VolumeOptions) else None
    cases = find_inputs(inputs, predictor.reads_volumes, series, len(predictor.description.channels))
    tell_hidden(cases)
    if overwrite:
        _remove_earlier_files(out_dir, cases)
    statistics: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    findings: list[Finding] = []
    failed: dict[str, str] = {}
    try:
        for case in tqdm(cases, desc="predicting", unit="image", disable=None):
            started = time.perf_counter()
            try:
                prediction = predictor.predict(case["image"], case["case"])
                write_prediction(prediction, out_dir, pictures)
            except Exception as error:  # whatever one file leads to, the others are done
                fault = root_cause(error)
                reason = _reason(fault, image_paths(case)[0])
                logger.error(reason if reason.startswith(case["shown"]) else f"{case['shown']}: {reason}")
                logger.debug("where it happened:", exc_info=True)
                failed[case["shown"]] = reason
                findings += fault.findings if isinstance(fault, DataError) else []
                continue
            findings += prediction.findings
            statistics[prediction.case] = prediction.statistics
            seconds[prediction.case] = round(time.perf_counter() - started, 3)
    finally:  # an interrupted run tells what it has done, too
        write_csv(out_dir / FAILED, ["image", "reason"], list(failed.items()))
        write_findings(out_dir, findings)
        _write_statistics(out_dir, statistics)
        versions = {name: version(name) for name in ("torch", "monai", "nibabel", "SimpleITK")}
        record = {
            **predictor.describe(),
            "images": {case["case"]: case["shown"] for case in cases},
            "seconds": seconds,
            "failed": list(failed),
            "versions": {"i2net_bundle": i2net_bundle.__version__, **versions},
        }
        _write_json(out_dir / RECORD, record)
    return list(failed)


def _remove_earlier_files(out_dir: Path, cases: Sequence[dict[str, Any]]) -> None:
    """Remove all that was written for the cases before; an input among these files stops the work."""
    patterns = [pattern.format(glob.escape(case["case"])) for case in cases for pattern in _OF_CASE]
    earlier = {path for pattern in patterns for path in out_dir.glob(pattern) if path.is_file()}
    inputs = {Path(path).resolve() for case in cases for path in image_paths(case)}
    for path in earlier:
        if path.resolve() in inputs:
            raise ValueError(f"{path} is an input, and would be replaced. Name another folder to write.")
    for path in earlier:
        path.unlink()


def _reason(fault: BaseException, image: str) -> str:
    """An error in words; one that was not foreseen by its kind too, since its words alone may say little."""
    foreseen = isinstance(fault, DataError | OSError | torch.OutOfMemoryError)
    reason = str(fault) if foreseen else f"{type(fault).__name__}: {fault}"
    return without_identifiers(reason) if Path(image).is_dir() else reason


def write_prediction(prediction: Prediction, out_dir: Path, pictures: bool = True) -> list[Path]:
    """Write what was predicted for one image; returns the files.

    Args:
        prediction: of `Predictor.predict`.
        out_dir: folder to write.
        pictures: whether to draw it.
    """
    name = mask_name(prediction.image_path, prediction.case)
    num_classes = len(prediction.classes)
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
        write_geojson(prediction.mask, path, prediction.classes[1], prediction.statistics.get("um_per_px"))
        written.append(path)
    if pictures and prediction.picture is not None:
        written += _draw(prediction, out_dir / "pictures" / f"{prediction.case}.png")
    return written


def _draw(prediction: Prediction, path: Path) -> list[Path]:
    """The picture where it can be drawn; the mask, which it only shows, is there already."""
    assert prediction.picture is not None
    try:
        figure = show_prediction(*prediction.picture, prediction.classes, prediction.case, prediction.letters)
        with written_whole(path) as temporary:
            figure.savefig(temporary, dpi=110)
    except Exception as cause:  # nothing that matplotlib raises is worth a mask
        logger.warning(f"no picture of {prediction.case}: {cause}")
        return []
    return [path]


def _write_dicom_seg(prediction: Prediction, path: Path) -> list[Path]:
    """The mask as DICOM-SEG where that can be; the NIfTI mask is there already."""
    try:
        write_dicom_seg(prediction.mask, prediction.image_path, path, prediction.classes, prediction.series)
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
