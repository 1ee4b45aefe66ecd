"""One call from an image, a file or an array, to its mask."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from i2net_bundle.inference.predictor import Prediction, Predictor


def predict(
    image: str | Path | np.ndarray,
    task: str = "synapse",
    weights: str | Path | Sequence[str | Path] | None = None,
    *,
    spacing: Sequence[float] | None = None,
    affine: np.ndarray | None = None,
    **options: Any,
) -> Prediction:
    """Segment one image; for several, make one `Predictor` and call it for each.

    Args:
        image: a file, the folder of a DICOM series, or an array: a CT in HU (X, Y, Z), or RGB (H, W, 3) as uint8.
        task: "synapse" (CT) or "glas" (histology).
        weights: files of weights; several are averaged. Default is the bundle's ``models/model.pt``.
        spacing: voxel size of an array along its axes in mm, which then run to the patient's right, front and head.
        affine: voxel to mm of an array (4, 4), RAS as in NIfTI; takes the place of ``spacing``.
        options: see `Predictor`.

    Raises:
        ValueError: a volume comes without spacing or affine: lengths and orientation cannot be guessed.

    See `Predictor` for further errors.
    """
    predictor = Predictor(task, weights, **options)
    if not isinstance(image, np.ndarray):
        return predictor.predict(image)
    with tempfile.TemporaryDirectory() as folder:
        return predictor.predict(_written(image, Path(folder), predictor.is_ct, spacing, affine), case="array")


def _written(
    image: np.ndarray, folder: Path, is_ct: bool, spacing: Sequence[float] | None, affine: np.ndarray | None
) -> Path:
    """An array as a file, which then takes the same way as any other."""
    if not is_ct:
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
        affine = np.diag([*spacing, 1.0])
    path = folder / "volume.nii"
    voxels = image if image.dtype in (np.int16, np.float32) else image.astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.asarray(affine, np.float64)), path)
    return path
