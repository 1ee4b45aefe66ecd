"""Which series a DICOM folder holds, and which of them is meant.

Of the headers only what describes the images is looked at: no name, number or date of a patient gets into a message or
a result. Messages tell series by number; UIDs and descriptions, which may hold a name, are for who asks to see them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813, its usual name

from i2net_bundle.io.findings import DataError, Finding, error
from i2net_bundle.io.privacy import is_identifying

_SERIES_UID, _DESCRIPTION, _MODALITY, _IMAGE_TYPE = "0020|000e", "0008|103e", "0008|0060", "0008|0008"
_SLICE_CLASS = re.compile(rb"\x02\x00\x02\x00UI..1\.2\.840\.10008\.5\.1\.4\.1\.1\.(2|4|128)\0", re.DOTALL)
"""How the preamble of a slice says what it is: MediaStorageSOPClassUID, storage of CT, MR or PET images."""

_AXIAL_COSINE = np.cos(np.deg2rad(45))
_PLANES = ("sagittal", "coronal", "axial")
_MAX_NAMES = 3


@dataclass(frozen=True)
class DicomSlice:
    r"""One file's image.

    Attributes:
        path: the file.
        series_uid: its series.
        description: the series' description.
        modality: "CT", "MR", ….
        image_type: such as ``ORIGINAL\PRIMARY\AXIAL``.
        size: (columns, rows).
        num_frames: 1 but for multi-frame files.
        spacing_mm: between columns, between rows, and the file's own word for the third.
        position_mm: centre of the first voxel, in LPS coordinates.
        axes: directions of columns, rows and slices in LPS coordinates, the columns of a 3 × 3 matrix row by row.
    """

    path: Path
    series_uid: str
    description: str
    modality: str
    image_type: str
    size: tuple[int, int]
    num_frames: int
    spacing_mm: tuple[float, float, float]
    position_mm: tuple[float, float, float]
    axes: tuple[float, ...]

    @property
    def normal(self) -> np.ndarray:
        """Unit vector (3,) across the slice, in LPS coordinates."""
        return np.array(self.axes).reshape(3, 3)[:, 2]

    def has_grid_of(self, other: DicomSlice) -> bool:
        """Whether both have one size, one pixel spacing and one orientation."""
        return (
            self.size == other.size
            and np.allclose(self.spacing_mm[:2], other.spacing_mm[:2], rtol=0, atol=1e-3)
            and np.allclose(self.axes, other.axes, rtol=0, atol=1e-3)
        )


@dataclass(frozen=True)
class DicomSeries:
    """Slices of one series.

    Attributes:
        uid: SeriesInstanceUID; where a de-identification removed it, the files' folder relative to the one listed.
        slices: in the order of their positions.
    """

    uid: str
    slices: tuple[DicomSlice, ...] = field(repr=False)

    @property
    def description(self) -> str:
        """What the scanner's operator called it."""
        return self.slices[0].description

    @property
    def modality(self) -> str:
        """Such as "CT"."""
        return self.slices[0].modality

    @property
    def num_slices(self) -> int:
        """How many files it has."""
        return len(self.slices)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return self.slices[0].size

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between columns, between rows, and between slices by their positions."""
        columns, rows, thickness = self.slices[0].spacing_mm
        return columns, rows, float(np.median(np.diff(self.heights_mm))) if self.num_slices > 1 else thickness

    @property
    def is_localizer(self) -> bool:
        """Whether it only serves to plan others: it says so, or has one or two slices that are not axial."""
        if all("LOCALIZER" in item.image_type for item in self.slices):
            return True
        return self.num_slices < 3 and any(abs(item.normal[2]) < _AXIAL_COSINE for item in self.slices)

    @property
    def plane(self) -> str:
        """Whichever is nearest of "axial", "coronal" and "sagittal"."""
        return _PLANES[int(np.abs(self.slices[0].normal).argmax())]

    @property
    def folders(self) -> set[Path]:
        """Where its files lie."""
        return {item.path.parent for item in self.slices}

    @property
    def summary(self) -> str:
        """What may be told of it anywhere: neither its UID nor its description."""
        columns, rows, slices = self.spacing_mm
        return (
            f"{self.modality}, {self.num_slices} slice{'s' if self.num_slices > 1 else ''} of {self.size[0]} × "
            f"{self.size[1]}, {columns:.3g} × {rows:.3g} × {slices:.3g} mm, {self.plane}"
            + (", localiser" if self.is_localizer else "")
        )

    @property
    def heights_mm(self) -> np.ndarray:
        """The slices' positions along the first one's normal, (num_slices,)."""
        return np.array([item.position_mm for item in self.slices]) @ self.slices[0].normal


def list_series(folder: str | Path) -> list[DicomSeries]:
    """Find the series in a folder and the folders below it.

    Args:
        folder: as exported from a PACS or a disc; other files in it are passed over.

    Returns:
        by folder and file name of their first slices; their places in this list, from 1, are their numbers.

    Raises:
        DataError: it is no folder, holds no DICOM image, or holds slices that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError([error("dicom-none", folder, "is no folder", "Pass the folder that holds the DICOM files.")])
    series, damaged = group_series(folder, (path for path in folder.rglob("*") if path.is_file()))
    if damaged:
        raise DataError(
            [damage_finding(folder, damaged, "read: truncated or damaged", "Copy or export the series again.")]
        )
    if not series:
        remedy = "Pass the folder that holds the DICOM files, or a NIfTI file."
        raise DataError([error("dicom-none", folder, "holds no DICOM images", remedy)])
    return series


def group_series(folder: Path, files: Iterable[Path]) -> tuple[list[DicomSeries], list[Path]]:
    """Read the headers of files.

    Args:
        folder: above all files.
        files: DICOM or not.

    Returns:
        the series, in the order of the paths of their first slices; and the slices (CT, MR or PET) that cannot be
        read.
    """
    grouped: dict[str, list[DicomSlice]] = defaultdict(list)
    damaged: list[Path] = []
    for path in sorted(files):
        item = _read_header(path)
        if item is not None:
            grouped[item.series_uid or path.parent.relative_to(folder).as_posix()].append(item)
        elif _is_slice(path):
            damaged.append(path)
    return [DicomSeries(uid, _in_order(slices)) for uid, slices in grouped.items()], damaged


def damage_finding(folder: str | Path, damaged: Sequence[Path], what: str, remedy: str) -> Finding:
    """Say of a folder how many of its slices cannot be used; names the first whose names are no UIDs.

    Args:
        folder: of the series.
        damaged: files below it.
        what: cannot be done with them, and why.
        remedy: what to do.
    """
    names = [path.relative_to(folder).as_posix() for path in damaged]
    named = [name for name in names if not is_identifying(name)][:_MAX_NAMES]
    if named and len(named) < len(names):
        named.append("…")
    listed = f" ({', '.join(named)})" if named else ""
    slices = "1 slice" if len(names) == 1 else f"{len(names)} slices"
    return error("dicom-unreadable", folder, f"holds {slices} that cannot be {what}{listed}", remedy)


def find_series(folder: str | Path, chosen: int | str | None = None) -> DicomSeries:
    """The one series of a folder that is meant; whether it is whole `series_findings` tells.

    Args:
        folder: where to look, with the folders below it.
        chosen: which series, by its number in `list_series` or its UID. May be left out where there is one besides
            localisers, or one that lies in the folder itself while each of the others lies in one below.

    Raises:
        DataError: no series or several could be meant; lists them.
    """
    series = list_series(folder)
    if chosen is None:
        candidates = [item for item in series if not item.is_localizer]
        inside = [item for item in candidates if Path(folder) in item.folders]
        if len(inside) == 1 and all(len(item.folders) == 1 for item in candidates):
            return inside[0]
        problem = f"holds {len(candidates)} series that could be meant" if candidates else "holds only localisers"
    elif isinstance(chosen, int):
        candidates = series[chosen - 1 : chosen]
        problem = f"holds {len(series)} series, and number {chosen} is none of them"
    else:
        candidates = [item for item in series if item.uid == chosen]
        problem = "holds no series of the UID that was chosen"
    if len(candidates) == 1:
        return candidates[0]
    listed = "".join(f"\n  {number}. {item.summary}" for number, item in enumerate(series, 1))
    remedy = f"Pass this folder with --series NUMBER; `i2net series FOLDER` shows descriptions and UIDs.{listed}"
    raise DataError([error("dicom-series", folder, problem, remedy)])


def _read_header(path: Path) -> DicomSlice | None:
    """What describes the image, or None where GDCM reads no image."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    columns, rows, frames = reader.GetSize()[:3]
    uid, description, modality, image_type = (
        _printable(reader.GetMetaData(tag)) if reader.HasMetaDataKey(tag) else ""
        for tag in (_SERIES_UID, _DESCRIPTION, _MODALITY, _IMAGE_TYPE)
    )
    return DicomSlice(
        path=path,
        series_uid=uid,
        description=description,
        modality=modality,
        image_type=image_type,
        size=(columns, rows),
        num_frames=frames,
        spacing_mm=reader.GetSpacing()[:3],
        position_mm=reader.GetOrigin()[:3],
        axes=reader.GetDirection(),
    )


def _is_slice(path: Path) -> bool:
    with path.open("rb") as file:
        preamble = file.read(512)
    return preamble[128:132] == b"DICM" and _SLICE_CLASS.search(preamble) is not None


def _in_order(slices: Sequence[DicomSlice]) -> tuple[DicomSlice, ...]:
    normal = slices[0].normal
    return tuple(sorted(slices, key=lambda item: float(np.dot(item.position_mm, normal))))


def _printable(text: str) -> str:
    """Without padding, and without what a terminal would act on or cannot show."""
    return "".join(letter if letter.isprintable() else "?" for letter in text.strip(" \0"))
