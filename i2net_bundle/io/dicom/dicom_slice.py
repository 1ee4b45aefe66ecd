"""Describe the image of one DICOM file, and DICOM objects that are not slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

Vector = tuple[float, ...]

_SAME_GRID = 1e-3


@dataclass(frozen=True)
class OtherObject:
    """A DICOM object that is not a slice of a volume.

    Attributes:
        path: the file.
        kind: name of its SOP class, such as "Encapsulated PDF Storage".
    """

    path: Path
    kind: str


@dataclass(frozen=True)
class DicomSlice:
    r"""The image of one file.

    Attributes:
        path: the file.
        series_uid: SeriesInstanceUID; empty if it was removed.
        description: SeriesDescription.
        modality: "CT", "MR", ….
        image_type: such as ``ORIGINAL\PRIMARY\AXIAL``.
        size: (columns, rows).
        num_frames: number of slices in the file.
        spacing_mm: distances between columns and between rows; None if not recorded.
        thickness_mm: SliceThickness; None if not recorded.
        position_mm: centre of the first voxel in LPS coordinates; None if not recorded.
        orientation: direction cosines (6,) of a row and of a column in LPS coordinates; None if not recorded.
        bits: bits allocated and bits stored per pixel.
        signed: whether stored values are in two's complement.
        photometric: photometric interpretation, such as "MONOCHROME2".
        padding: first and last stored value of padding; None without PixelPaddingValue.
        rescale: slope and intercept; None if the file has neither.
        rescale_type: unit after rescaling; empty if not recorded.
        faults: descriptions of missing and invalid attributes, such as "no PixelSpacing".
        decoded_bytes: size of the decoded pixels as claimed by the header.
        file_bytes: size of the file.
    """

    path: Path
    series_uid: str
    description: str
    modality: str
    image_type: str
    size: tuple[int, int]
    num_frames: int
    spacing_mm: Vector | None
    thickness_mm: float | None
    position_mm: Vector | None
    orientation: Vector | None
    bits: tuple[int, int]
    signed: bool
    photometric: str
    padding: tuple[int, int] | None
    rescale: tuple[float, float] | None
    rescale_type: str
    faults: tuple[str, ...]
    decoded_bytes: int
    file_bytes: int

    @property
    def normal(self) -> np.ndarray | None:
        """Unit vector (3,) perpendicular to the slice in LPS coordinates; None without an orientation."""
        if self.orientation is None:
            return None
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        return np.asarray(normal / np.linalg.norm(normal))

    def has_grid_of(self, other: DicomSlice) -> bool:
        """Whether both have the same size, pixel spacing and orientation."""
        return (
            self.size == other.size
            and _close(self.spacing_mm, other.spacing_mm)
            and _close(self.orientation, other.orientation)
        )


def _close(first: Vector | None, second: Vector | None) -> bool:
    if first is None or second is None:
        return first is second
    return all(abs(a - b) <= _SAME_GRID for a, b in zip(first, second, strict=True))
