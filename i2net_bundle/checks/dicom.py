"""DICOM folders: which CT series they hold, whether one is a whole regular volume, and its voxels in HU.

Read with SimpleITK, whose GDCM decodes compressed slices and applies the rescale slope and intercept. Of the headers
only what describes the images is looked at: no name, number or date of a patient gets into a message or a result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813, its usual name

from i2net_bundle.checks.findings import DataError, Finding, error

_SERIES_UID, _DESCRIPTION, _MODALITY, _IMAGE_TYPE = "0020|000e", "0008|103e", "0008|0060", "0008|0008"
_CT_CLASS = b"\x02\x00\x02\x00UI\x1a\x00" + b"1.2.840.10008.5.1.4.1.1.2\0"
"""How the preamble of a CT slice says that it is one: MediaStorageSOPClassUID, CT Image Storage."""

_AXIAL_COSINE = np.cos(np.deg2rad(45))
_MAX_TILT_DEG = 0.5
_SAME_POSITION_MM = 0.01


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
    def heights_mm(self) -> np.ndarray:
        """The slices' positions along the first one's normal, (num_slices,)."""
        return np.array([item.position_mm for item in self.slices]) @ self.slices[0].normal


def list_series(folder: str | Path) -> list[DicomSeries]:
    """Find the series in a folder and the folders below it.

    Args:
        folder: as exported from a PACS or a disc; other files in it are passed over.

    Returns:
        by folder and file name of their first slices.

    Raises:
        DataError: it is no folder, holds no DICOM image, or holds CT slices that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError([error("dicom-none", folder, "is no folder", "Pass the folder that holds the DICOM files.")])
    grouped: dict[str, list[DicomSlice]] = defaultdict(list)
    damaged: list[Finding] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        item = _read_header(path)
        if item is not None:
            grouped[item.series_uid or path.parent.relative_to(folder).as_posix()].append(item)
        elif _is_ct_slice(path):
            problem = "is a CT slice that cannot be read: truncated or damaged"
            damaged.append(error("dicom-unreadable", path, problem, "Copy or export the series again."))
    if damaged:
        raise DataError(damaged)
    if not grouped:
        remedy = "Pass the folder that holds the DICOM files, or a NIfTI file."
        raise DataError([error("dicom-none", folder, "holds no DICOM images", remedy)])
    return [DicomSeries(uid, _in_order(slices)) for uid, slices in grouped.items()]


def read_series(folder: str | Path, series_uid: str | None = None) -> sitk.Image:
    """Read one CT series as a volume.

    Args:
        folder: where to look, with the folders below it.
        series_uid: which series; may be left out where there is one besides localisers.

    Returns:
        voxels in HU, indexed (columns, rows, slices), in the scanner's orientation and LPS coordinates, without any
        header.

    Raises:
        DataError: no series or several could be meant, or the series is not one whole regular CT volume.
    """
    series = find_series(folder, series_uid)
    findings = series_findings(folder, series)
    if findings:
        raise DataError(findings)
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([str(item.path) for item in series.slices])
    try:
        return reader.Execute()
    except RuntimeError as cause:  # does not tell the file
        broken = next((item.path for item in series.slices if not _can_be_decoded(item.path)), folder)
        problem = "its pixels cannot be decoded: damaged, or compressed in an unknown way"
        remedy = "Copy or export the series again, uncompressed."
        raise DataError([error("dicom-unreadable", broken, problem, remedy)]) from cause


def series_findings(folder: str | Path, series: DicomSeries) -> list[Finding]:
    """Find what keeps a series from being one whole regular CT volume; all are errors.

    Args:
        folder: for the messages.
        series: as listed.
    """
    findings = []
    if series.modality != "CT":
        problem = f"has modality {series.modality or 'unknown'}, not CT"
        findings.append(error("dicom-modality", folder, problem, "Choose a CT series; the network knows HU only."))
    frames = max(item.num_frames for item in series.slices)
    if frames > 1:
        problem = f"has {frames} slices in one file"
        remedy = "Convert it with dcm2niix and pass the NIfTI file."
        return [*findings, error("dicom-multiframe", folder, problem, remedy)]
    first = series.slices[0]
    other = next((item for item in series.slices if not item.has_grid_of(first)), None)
    if other is not None:
        problem = (
            f"mixes slices of different size, pixel spacing or orientation: {first.path.name} ({_grid(first)}) and "
            f"{other.path.name} ({_grid(other)})"
        )
        return [*findings, error("dicom-mixed", folder, problem, "Keep the slices of one volume in the folder.")]
    return [*findings, *_tilt_findings(folder, series), *_spacing_findings(folder, series)]


def _tilt_findings(folder: str | Path, series: DicomSeries) -> list[Finding]:
    """With a tilted gantry each slice is shifted within its plane, which no regular grid can hold."""
    first, last = (np.array(series.slices[index].position_mm) for index in (0, -1))
    along = (last - first) @ series.slices[0].normal
    across = np.linalg.norm(last - first - along * series.slices[0].normal)
    tilt_deg = float(np.rad2deg(np.arctan2(across, along)))
    if tilt_deg <= _MAX_TILT_DEG:
        return []
    problem = f"was taken with the gantry tilted by {tilt_deg:.1f}°"
    remedy = "Convert it with dcm2niix, which corrects the tilt, and pass the NIfTI file it names …_Tilt."
    return [error("dicom-tilt", folder, problem, remedy)]


def _spacing_findings(folder: str | Path, series: DicomSeries) -> list[Finding]:
    """Every slice must lie within 0.1 mm, or a tenth of the spacing, of where a regular grid has it."""
    heights, gaps, usual = series.heights_mm, np.diff(series.heights_mm), series.spacing_mm[2]
    if len(gaps) == 0:
        return []
    if gaps.min() < _SAME_POSITION_MM:
        doubles = int((gaps < _SAME_POSITION_MM).sum())
        problem = f"has slices at one position, {doubles} more than positions: {_pair(series, gaps.argmin())}"
        remedy = "Keep one of each: export a single phase, without the repeats."
        return [error("dicom-duplicates", folder, problem, remedy)]
    off_grid_mm = np.abs(heights - np.linspace(heights[0], heights[-1], len(heights))).max()
    if off_grid_mm <= max(0.1, 0.1 * usual):
        return []
    odd = np.abs(gaps - usual).argmax()
    problem = (
        f"misses slices or is spaced irregularly: {gaps[odd]:.4g} mm between {_pair(series, odd)}, and mostly "
        f"{usual:.4g} mm"
    )
    remedy = "Export the whole series again; if its spacing varies by design, dcm2niix writes an even NIfTI (…_Eq)."
    return [error("dicom-spacing", folder, problem, remedy)]


def find_series(folder: str | Path, uid: str | None = None) -> DicomSeries:
    """The one CT series of a folder that is meant; whether it is whole `series_findings` tells.

    Args:
        folder: where to look, with the folders below it.
        uid: which series; may be left out where there is one besides localisers.

    Raises:
        DataError: no series or several could be meant; lists them.
    """
    series = list_series(folder)
    candidates = [item for item in series if (item.uid == uid if uid is not None else not item.is_localizer)]
    if len(candidates) == 1:
        return candidates[0]
    if uid is not None:
        problem = f"holds no series {uid}"
    else:
        problem = f"holds {len(candidates)} series that could be meant" if candidates else "holds only localisers"
    listed = "".join(f"\n  {number}. {_listed(item)}" for number, item in enumerate(series, 1))
    raise DataError([error("dicom-series", folder, problem, f"Choose one with --series UID:{listed}")])


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


def _is_ct_slice(path: Path) -> bool:
    with path.open("rb") as file:
        preamble = file.read(512)
    return preamble[128:132] == b"DICM" and _CT_CLASS in preamble


def _can_be_decoded(path: Path) -> bool:
    try:
        sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    except RuntimeError:
        return False
    return True


def _in_order(slices: Sequence[DicomSlice]) -> tuple[DicomSlice, ...]:
    normal = slices[0].normal
    return tuple(sorted(slices, key=lambda item: float(np.dot(item.position_mm, normal))))


def _printable(text: str) -> str:
    """Without padding, and without what a terminal would act on or cannot show."""
    return "".join(letter if letter.isprintable() else "?" for letter in text.strip(" \0"))


def _listed(series: DicomSeries) -> str:
    columns, rows, slices = series.spacing_mm
    return (
        f"{series.uid}: {series.description or 'no description'}, {series.modality}, {series.num_slices} "
        f"slice{'s' if series.num_slices > 1 else ''} of {series.size[0]} × {series.size[1]}, "
        f"{columns:.3g} × {rows:.3g} × {slices:.3g} mm" + (", localiser" if series.is_localizer else "")
    )


def _grid(item: DicomSlice) -> str:
    normal = ", ".join(f"{value:.2f}" for value in item.normal + 0.0)  # no minus zeros
    return f"{item.size[0]} × {item.size[1]}, {item.spacing_mm[0]:.3g} × {item.spacing_mm[1]:.3g} mm, normal {normal}"


def _pair(series: DicomSeries, index: int | np.intp) -> str:
    return f"{series.slices[index].path.name} and {series.slices[index + 1].path.name}"
