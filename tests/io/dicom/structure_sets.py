"""Read an RT Structure Set back with pydicom and scikit-image alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from skimage.draw import polygon2mask

TOLERANCE_MM = 1e-3
"""The coordinates have four decimal places."""


def rasterised(path: Path, folder: Path) -> dict[int, np.ndarray]:
    """The mask (columns, rows, slices) of each ROI by number, from its contours and the headers of the slices."""
    files = [pydicom.dcmread(file, stop_before_pixels=True) for file in folder.iterdir()]
    normal = np.cross(*np.reshape(files[0].ImageOrientationPatient, (2, 3)).astype(float))
    files.sort(key=lambda item: float(normal @ np.array(item.ImagePositionPatient, float)))
    number = {item.SOPInstanceUID: index for index, item in enumerate(files)}
    first = files[0]
    masks = {}
    for roi in pydicom.dcmread(path).ROIContourSequence:
        mask = np.zeros((first.Rows, first.Columns, len(files)), bool)
        for contour in roi.ContourSequence:
            index = number[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            from_corner = np.reshape(contour.ContourData, (-1, 3)).astype(float) - files[index].ImagePositionPatient
            along_row, along_column = np.reshape(files[index].ImageOrientationPatient, (2, 3)).astype(float)
            assert np.abs(from_corner @ normal).max() < TOLERANCE_MM
            row_mm, column_mm = files[index].PixelSpacing
            points = np.stack([from_corner @ along_column / row_mm, from_corner @ along_row / column_mm], axis=1)
            enclosed = polygon2mask(mask.shape[:2], points)
            assert not (mask[..., index] & enclosed).any()  # no contour lies in another: their union is the mask
            mask[..., index] |= enclosed
        masks[int(roi.ReferencedROINumber)] = mask.transpose(1, 0, 2)
    return masks
