"""Write the files of one prediction: mask, instances, DICOM objects, maps, polygons, picture."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from i2net_bundle.figures.case_panels import show_prediction
from i2net_bundle.io.dicom.dicom_rtstruct import write_dicom_rtstruct
from i2net_bundle.io.dicom.dicom_seg import write_dicom_seg
from i2net_bundle.io.dicom.dicom_sr import write_dicom_sr
from i2net_bundle.io.masks import instances_name, mask_name, write_instances, write_mask
from i2net_bundle.io.privacy import without_identifiers
from i2net_bundle.io.writing import DiskFullError, write_rows, written_whole
from i2net_bundle.prediction.case_prediction import Prediction
from i2net_bundle.prediction.polygons import instance_features, write_features, write_geojson

logger = logging.getLogger("i2net.prediction")

PICTURES = "pictures"
"""Folder of the pictures in an output folder."""

_PATTERNS = (
    "{}_mask.*",
    "{}_measurements.dcm",
    "{}_contours.dcm",
    "{}_instances.png",
    "{}_glands.csv",
    "{}_entropy.*",
    "{}_variance.*",
    "{}_probabilities.*",
    "{}.geojson",
    f"{PICTURES}/{{}}.png",
)
"""All files that `write_prediction` can write for a case."""


@dataclass(frozen=True)
class Extras:
    """Files that can be chosen beside the mask and what belongs to it.

    Attributes:
        pictures: the mask over the image.
        rtstruct: contours of the mask of a DICOM series as an RT Structure Set.
    """

    pictures: bool = True
    rtstruct: bool = False


def files_of_case(out_dir: Path, case: str) -> list[Path]:
    """Find the files of a case in the output folder."""
    patterns = [pattern.format(glob.escape(case)) for pattern in _PATTERNS]
    return sorted({path for pattern in patterns for path in out_dir.glob(pattern) if path.is_file()})


def write_prediction(prediction: Prediction, out_dir: Path, extras: Extras = Extras()) -> list[Path]:
    """Write the files of one prediction; if one fails, none is left.

    Args:
        prediction: result of `Predictor.predict`.
        out_dir: output folder.
        extras: which files to write beside the mask.

    Returns:
        the written files.

    Raises:
        FileExistsError: the mask exists.
        DiskFullError: the disk is full.
    """
    written: list[Path] = []
    try:
        for path in _write(prediction, out_dir, extras):
            written.append(path)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return written


def _write(prediction: Prediction, out_dir: Path, extras: Extras) -> Iterator[Path]:
    path = out_dir / mask_name(prediction.image_path, prediction.case)
    num_classes = len(prediction.classes)
    write_mask(prediction.mask, prediction.image_path, path, affine=prediction.affine, num_classes=num_classes)
    yield path
    if prediction.image_path.is_dir():
        yield from _write_dicom(prediction, out_dir, extras.rtstruct)
    elif extras.rtstruct:
        logger.warning(f"{prediction.case}: no RTSTRUCT, because the image is no DICOM series. The mask is complete.")
    for kind, values in _maps_by_file(prediction).items():
        yield _write_map(out_dir / f"{prediction.case}_{kind}", values, prediction.affine)
    if prediction.instances is not None:
        yield from _write_glands(prediction, out_dir, prediction.instances)
    elif prediction.affine is None and num_classes == 2:
        path = out_dir / f"{prediction.case}.geojson"
        write_geojson(prediction.mask, path, prediction.classes[1], prediction.statistics.get("um_per_px"))
        yield path
    if extras.pictures and prediction.picture is not None:
        yield from _draw(prediction, out_dir / PICTURES / f"{prediction.case}.png")


def _write_glands(prediction: Prediction, out_dir: Path, ids: np.ndarray) -> Iterator[Path]:
    """Write the instances of glands, and their measurements as a table and as GeoJSON."""
    path = out_dir / instances_name(prediction.image_path, prediction.case)
    write_instances(ids, path)
    yield path
    um_per_px = prediction.statistics.get("um_per_px")
    if prediction.glands:
        path = out_dir / f"{prediction.case}_glands.csv"
        write_rows(path, [gland.row(um_per_px) for gland in prediction.glands])
        yield path
    path = out_dir / f"{prediction.case}.geojson"
    write_features(instance_features(ids, prediction.classes[1], prediction.glands, um_per_px), path)
    yield path


def _draw(prediction: Prediction, path: Path) -> Iterator[Path]:
    """Draw the picture; a failure is a warning, because the mask exists."""
    assert prediction.picture is not None
    try:
        figure = show_prediction(
            *prediction.picture,
            prediction.classes,
            title=prediction.case,
            letters=prediction.letters,
            warnings=prediction.implausible,
            note=f"network trained on {prediction.trained_on}" if prediction.trained_on else None,
        )
        with written_whole(path) as temporary:
            figure.savefig(temporary, dpi=110)
    except DiskFullError:
        raise
    except Exception as cause:  # matplotlib raises errors of many types
        logger.warning(f"{prediction.case}: the picture was not drawn ({cause}). The mask is complete.")
        return
    yield path


def _write_dicom(prediction: Prediction, out_dir: Path, rtstruct: bool) -> Iterator[Path]:
    """Write the DICOM-SEG of a series, and the objects made from it; warn if one fails: the NIfTI mask exists."""
    mask, report, contours = (
        out_dir / f"{prediction.case}_{kind}.dcm" for kind in ("mask", "measurements", "contours")
    )
    series, classes = prediction.image_path, prediction.classes
    try:
        write_dicom_seg(prediction.mask, series, mask, classes, prediction.series)
    except (ImportError, ValueError) as cause:
        missing = "DICOM-SEG and no RTSTRUCT" if rtstruct else "DICOM-SEG"
        reason = without_identifiers(str(cause))
        logger.warning(f"{prediction.case}: only NIfTI is written, no {missing} ({reason})")
        return
    yield mask
    derived = {}
    if prediction.statistics:
        derived["report"] = report, partial(write_dicom_sr, mask, report, classes, prediction.statistics)
    if rtstruct:
        derived["RTSTRUCT"] = contours, partial(write_dicom_rtstruct, mask, contours, classes)
    for name, (path, write) in derived.items():
        try:
            write()
        except ValueError as cause:
            reason = without_identifiers(str(cause))
            logger.warning(f"{prediction.case}: the DICOM-SEG is written, no {name} ({reason})")
        else:
            yield path


def _maps_by_file(prediction: Prediction) -> dict[str, np.ndarray]:
    """Group the maps by the suffix of their file; the probabilities of all classes share one file."""
    probabilities = [values for name, values in prediction.maps.items() if name.startswith("probability")]
    maps = {name: values for name, values in prediction.maps.items() if not name.startswith("probability")}
    return maps | ({"probabilities": np.stack(probabilities, axis=-1)} if probabilities else {})


def _write_map(path: Path, values: np.ndarray, affine: np.ndarray | None) -> Path:
    """Write the map of a volume as NIfTI, float32; of an image as 8-bit PNG (0 to 1 in 255 steps), several as NPZ."""
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
