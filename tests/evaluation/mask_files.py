"""A label, a mask of half of it, and files of either."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

LABEL = np.zeros((12, 10, 8), np.uint8)
LABEL[2:8, 2:8, 2:6] = 5
PRED = np.zeros_like(LABEL)
PRED[2:8, 2:8, 2:4] = 5  # half of the liver: Dice 2/3


def save(path: Path, labels: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        nib.save(nib.Nifti1Image(labels, np.diag([2.0, 2.0, 3.0, 1.0]) if affine is None else affine), path)
    else:
        Image.fromarray(labels).save(path)
