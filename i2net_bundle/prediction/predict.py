"""One call from an image, a file or an array, to its mask."""

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
from i2net_bundle.prediction.predictor import Prediction, Predictor


def predict(
    image: str | Path | np.ndarray,
    weights: str | Path | Sequence[str | Path] | None = None,
    task: str | None = None,
    *,
    spacing: Sequence[float] | None = None,
    affine: np.ndarray | None = None,
    **options: Any,
) -> Prediction:
    """Segment one image; for several, make one `Predictor` and call it for each.

    Args:
        image: a file, the folder of a DICOM series, or an array: a CT in HU (X, Y, Z), or RGB (H, W, 3) as uint8.
        weights: files of weights; several are averaged. Default is the bundle's ``models/model.pt``.
        task: "ct", "mr" or "histology"; needed only for weights without ``settings.json`` beside them.
        spacing: voxel size of an array along its axes in mm, which then run to the patient's right, front and head.
        affine: voxel to mm of an array (4, 4), RAS as in NIfTI; takes the place of ``spacing``.
        options: see `Predictor`.

    Raises:
        ValueError: a volume comes without spacing or affine: lengths and orientation cannot be guessed; or with one
            that is none. What is no array of a volume comes with one.

    See `Predictor` for further errors.
    """
    if not isinstance(image, np.ndarray):
        if spacing is not None or affine is not None:
            raise ValueError(f"spacing and affine are of arrays, and {image} is a file, which says its own.")
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
    """Findings of the file that an array was written to, which is gone when they are read."""

    def said(text: str) -> str:
        return text.replace(str(path), "the array")

    return [
        dataclasses.replace(item, file=said(item.file), problem=said(item.problem), remedy=said(item.remedy))
        for item in findings
    ]


def _written(
    image: np.ndarray, folder: Path, is_ct: bool, spacing: Sequence[float] | None, affine: np.ndarray | None
) -> Path:
    """An array as a file, which then takes the same way as any other."""
    if not is_ct:
        if spacing is not None or affine is not None:
            raise ValueError('spacing and affine are of volumes; say of an image reading={"um_per_px": ...}.')
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"The image is {image.shape} of {image.dtype}; give RGB (H, W, 3) as uint8.")
        path = folder / "image.png"
        Image.fromarray(image).save(path)
        return path
    if image.ndim != 3:
        raise ValueError(f"The volume has shape {image.shape}; give (X, Y, Z).")
    if affine is None:
        if spacing is None or len(spacing) != 3:
            raise ValueError("Give the volume's spacing=(x, y, z) in mm, or its affine: neither can be guessed.")
        if not all(0 < side < math.inf for side in spacing):
            raise ValueError(f"The spacing is {tuple(spacing)}; give three numbers of mm above 0.")
        affine = np.diag([*spacing, 1.0])
    affine = np.asarray(affine, np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ValueError(f"The affine {affine.tolist()} places no volume; give voxel to mm (4, 4).")
    path = folder / "volume.nii"
    voxels = image if image.dtype in (np.int16, np.float32) else image.astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path
