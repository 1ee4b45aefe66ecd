"""Segment one image, given as a file or an array, in one call."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from i2net_bundle.io.findings import DataError, Finding
from i2net_bundle.prediction.case_prediction import Prediction
from i2net_bundle.prediction.predictor import Predictor


def predict(
    image: str | Path | np.ndarray,
    weights: str | Path | Sequence[str | Path] | None = None,
    task: str | None = None,
    *,
    spacing: Sequence[float] | None = None,
    affine: np.ndarray | None = None,
    **options: Any,
) -> Prediction:
    """Segment one image. For many images, create one `Predictor` and call it for each.

    Args:
        image: a file, the folder of a DICOM series, or an array: a CT in HU (X, Y, Z), or RGB (H, W, 3), uint8.
        weights: one or more weights files; several are averaged. Default is the bundle's ``models/model.pt``.
        task: "ct", "mr" or "histology"; required only for weights without ``settings.json`` beside them.
        spacing: voxel size of an array in mm; its axes point to the patient's right, front and head (RAS).
        affine: voxel to RAS mm of an array (4, 4), as in NIfTI; replaces ``spacing``.
        options: see `Predictor`.

    Raises:
        ValueError: an array of a volume has no valid spacing or affine, or a file or 2D image is given with one.

    See `Predictor` for further errors.
    """
    if not isinstance(image, np.ndarray):
        if spacing is not None or affine is not None:
            raise ValueError(f"spacing and affine are for arrays only; {image} is a file, which records its own.")
        return Predictor(weights, task, **options).predict(image)
    predictor = Predictor(weights, task, **options)
    with tempfile.TemporaryDirectory() as folder:
        path = _written(image, Path(folder), predictor.reads_volumes, spacing, affine)
        try:
            prediction = predictor.predict(path, case="array")
        except DataError as fault:
            raise DataError(_of_the_array(fault.findings, path)) from None
        return dataclasses.replace(prediction, findings=_of_the_array(prediction.findings, path))


def _of_the_array(findings: Sequence[Finding], path: Path) -> list[Finding]:
    """Replace the name of the temporary file in findings by "the array"."""

    def renamed(text: str) -> str:
        return text.replace(str(path), "the array")

    return [
        dataclasses.replace(item, file=renamed(item.file), problem=renamed(item.problem), remedy=renamed(item.remedy))
        for item in findings
    ]


def _written(
    image: np.ndarray, folder: Path, is_ct: bool, spacing: Sequence[float] | None, affine: np.ndarray | None
) -> Path:
    """Write an array to a file, which is then read like any other."""
    if not is_ct:
        if spacing is not None or affine is not None:
            raise ValueError('spacing and affine are for volumes. For a 2D image, pass reading={"um_per_px": ...}.')
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"The image has shape {image.shape} and type {image.dtype}. Pass RGB (H, W, 3) as uint8.")
        path = folder / "image.png"
        Image.fromarray(image).save(path)
        return path
    if image.ndim != 3:
        raise ValueError(f"The volume has shape {image.shape}. Pass (X, Y, Z).")
    if affine is None:
        if spacing is None or len(spacing) != 3:
            raise ValueError("The volume has no spacing. Pass spacing=(x, y, z) in mm, or affine.")
        if not all(0 < side < math.inf for side in spacing):
            raise ValueError(f"The spacing is {tuple(spacing)}. Pass three numbers above 0, in mm.")
        affine = np.diag([*spacing, 1.0])
    affine = np.asarray(affine, np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ValueError(f"The affine {affine.tolist()} is not valid. Pass an invertible matrix (4, 4), voxel to mm.")
    path = folder / "volume.nii"
    voxels = image if image.dtype in (np.int16, np.float32) else image.astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path
