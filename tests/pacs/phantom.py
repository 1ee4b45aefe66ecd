"""A small CT of plausible intensities as a DICOM series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom

from tests.checks.ct_files import hu_volume
from tests.io.dicom.files import CT_UID, write_slice

SIZE = (20, 18, 4)
THICKNESS_MM = 5


def write_phantom(folder: Path, uid: str = CT_UID) -> np.ndarray:
    """Write the series and return its voxels (columns, rows, slices) in HU."""
    voxels = np.asarray(hu_volume(SIZE), np.int16)
    for number in range(SIZE[2]):
        path = folder / f"{number}.dcm"
        write_slice(path, (-3, -2, number * THICKNESS_MM), uid, size=SIZE[:2], thickness=str(THICKNESS_MM))
        content = pydicom.dcmread(path)
        content.RescaleIntercept = 0
        content.PixelRepresentation = 1
        content.PixelData = np.ascontiguousarray(voxels[..., number].T).astype("<i2").tobytes()
        content.save_as(path)
    return voxels
