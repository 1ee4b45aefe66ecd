"""Find the series in a DICOM folder, and the one to read.

Only attributes that describe the images are read, so no name, number or date of a patient can reach a message or a
result. Messages refer to series by number; `i2net series` shows their UIDs and descriptions, which may contain a name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from i2net_bundle.io.dicom.dicom_slice import DicomSlice, OtherObject
from i2net_bundle.io.dicom.headers import DamagedFileError, read_header
from i2net_bundle.io.file_listing import files_below
from i2net_bundle.io.findings import DataError, Finding, error, warning
from i2net_bundle.io.privacy import is_identifying, quiet_dicom_libraries

_AXIAL_COSINE = np.cos(np.deg2rad(45))
_PLANES = ("sagittal", "coronal", "axial")
_MAX_NAMES = 3


@dataclass(frozen=True)
class DicomSeries:
    """Slices of one series.

    Attributes:
        uid: SeriesInstanceUID; if it was removed, the folder of the files relative to the folder searched.
        slices: in the order of their positions along the normal, or of their paths if positions are missing.
    """

    uid: str
    slices: tuple[DicomSlice, ...] = field(repr=False)

    @property
    def description(self) -> str:
        """SeriesDescription as entered at the scanner."""
        return self.slices[0].description

    @property
    def modality(self) -> str:
        """Modality, such as "CT"."""
        return self.slices[0].modality

    @property
    def num_slices(self) -> int:
        """Number of files."""
        return len(self.slices)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return self.slices[0].size

    @property
    def heights_mm(self) -> np.ndarray | None:
        """Positions along the normal of the first slice, (num_slices,); None if geometry is missing."""
        normal = self.slices[0].normal
        positions = [item.position_mm for item in self.slices if item.position_mm is not None]
        if normal is None or len(positions) < self.num_slices:
            return None
        return np.asarray(np.array(positions) @ normal)

    @property
    def slice_spacing_mm(self) -> float | None:
        """Median distance between slices, or the thickness of a single slice; None if it is not recorded."""
        if self.num_slices == 1:
            return self.slices[0].thickness_mm
        heights = self.heights_mm
        return None if heights is None else float(np.median(np.diff(heights)))

    @property
    def is_localizer(self) -> bool:
        """Whether the series only serves to plan others: declared so, or one or two slices that are not axial."""
        if all("LOCALIZER" in item.image_type for item in self.slices):
            return True
        normals = [item.normal for item in self.slices]
        return self.num_slices < 3 and any(n is not None and abs(n[2]) < _AXIAL_COSINE for n in normals)

    @property
    def plane(self) -> str:
        """The nearest of "axial", "coronal" and "sagittal"."""
        normal = self.slices[0].normal
        return "unknown plane" if normal is None else _PLANES[int(np.abs(normal).argmax())]

    @property
    def folders(self) -> set[Path]:
        """Folders of the files."""
        return {item.path.parent for item in self.slices}

    @property
    def summary(self) -> str:
        """Description that is safe to print: neither UID nor SeriesDescription."""
        sides = [*(self.slices[0].spacing_mm or (None, None)), self.slice_spacing_mm]
        spacing = " × ".join("?" if side is None else f"{side:.3g}" for side in sides)
        return (
            f"{self.modality}, {self.num_slices} slice{'s' if self.num_slices > 1 else ''} of {self.size[0]} × "
            f"{self.size[1]}, {spacing} mm, {self.plane}" + (", localiser" if self.is_localizer else "")
        )


@dataclass
class DicomContent:
    """DICOM files of a folder.

    Attributes:
        series: in the order of the paths of their first slices.
        damaged: files that cannot be read, with the reasons.
        skipped: DICOM objects that are not slices, with their kinds, and other files, with "".
    """

    series: list[DicomSeries]
    damaged: dict[Path, str]
    skipped: dict[Path, str]


def list_series(folder: str | Path) -> list[DicomSeries]:
    """Find the series in a folder and its subfolders.

    Args:
        folder: as exported from a PACS or a disc; files that are not slices are skipped.

    Returns:
        the series in the order of the paths of their first slices; their numbers are their places in it, from 1.

    Raises:
        DataError: the folder does not exist, contains no slice, or contains slices that cannot be read.
    """
    return _intact_content(Path(folder)).series


def group_series(folder: Path, files: Iterable[Path]) -> DicomContent:
    """Read the headers of files and group the slices by series.

    Args:
        folder: folder above all files.
        files: DICOM or other files.
    """
    grouped: dict[str, list[DicomSlice]] = defaultdict(list)
    content = DicomContent([], {}, {})
    with quiet_dicom_libraries():
        for path in sorted(files):
            try:
                item = read_header(path)
            except DamagedFileError as fault:
                content.damaged[path] = str(fault)
                continue
            if isinstance(item, DicomSlice):
                grouped[item.series_uid or path.parent.relative_to(folder).as_posix()].append(item)
            else:
                content.skipped[path] = item.kind if isinstance(item, OtherObject) else ""
    content.series = [DicomSeries(uid, _in_order(slices)) for uid, slices in grouped.items()]
    return content


def find_series(folder: str | Path, chosen: int | str | None = None) -> tuple[DicomSeries, list[Finding]]:
    """Find the series to read; `series_findings` checks whether it is complete.

    Args:
        folder: folder to search, with its subfolders.
        chosen: number in `list_series` or UID of the series. It may be omitted if there is one series besides
            localisers, or if one lies in the folder itself and each of the others in one subfolder.

    Returns:
        the series, and a warning if files were skipped.

    Raises:
        DataError: no series or several match; lists them.
    """
    folder = Path(folder)
    content = _intact_content(folder)
    return _chosen(folder, content.series, chosen), _skipped_findings(folder, content.skipped)


def damage_finding(folder: str | Path, damaged: Sequence[Path], what: str, remedy: str) -> Finding:
    """Report how many slices of a folder cannot be used, with the first names that are not UIDs.

    Args:
        folder: folder of the series.
        damaged: files in it or its subfolders.
        what: what failed, and why: "read: truncated or damaged".
        remedy: what to do.
    """
    slices = "1 slice" if len(damaged) == 1 else f"{len(damaged)} slices"
    listed = _named(folder, {path: "" for path in damaged})
    return error("dicom-unreadable", folder, f"contains {slices} that cannot be {what}{listed}", remedy)


def _intact_content(folder: Path) -> DicomContent:
    if not folder.is_dir():
        remedy = "Pass the folder that contains the DICOM files."
        raise DataError([error("dicom-none", folder, "is not a folder", remedy)])
    content = group_series(folder, files_below(folder))
    if content.damaged:
        remedy = "Copy or export the series again."
        reasons = sorted(set(content.damaged.values()))
        files = {reason: [path for path, why in content.damaged.items() if why == reason] for reason in reasons}
        raise DataError([damage_finding(folder, files[reason], f"read: {reason}", remedy) for reason in reasons])
    if not content.series:
        kinds = {path: kind for path, kind in content.skipped.items() if kind}
        others = f", only other objects{_named(folder, kinds)}" if kinds else ""
        remedy = "Pass the folder that contains the slices of a CT or MR series, or a NIfTI file."
        raise DataError([error("dicom-none", folder, f"contains no DICOM slices{others}", remedy)])
    return content


def _chosen(folder: Path, series: list[DicomSeries], chosen: int | str | None) -> DicomSeries:
    if chosen is None:
        candidates = [item for item in series if not item.is_localizer]
        inside = [item for item in candidates if folder in item.folders]
        if len(inside) == 1 and all(len(item.folders) == 1 for item in candidates):
            return inside[0]
        problem = f"contains {len(candidates)} series" if candidates else "contains only localisers"
    elif isinstance(chosen, int):
        candidates = series[chosen - 1 : chosen]
        problem = f"contains {len(series)} series, so there is no number {chosen}"
    else:
        candidates = [item for item in series if item.uid == chosen]
        problem = "contains no series with the given UID"
    if len(candidates) == 1:
        return candidates[0]
    listed = "".join(f"\n  {number}. {item.summary}" for number, item in enumerate(series, 1))
    remedy = f"Choose one with --series NUMBER; `i2net series FOLDER` shows descriptions and UIDs.{listed}"
    raise DataError([error("dicom-series", folder, problem, remedy)])


def _skipped_findings(folder: Path, skipped: dict[Path, str]) -> list[Finding]:
    if not skipped:
        return []
    files = "1 file that is not a DICOM slice"
    if len(skipped) > 1:
        files = f"{len(skipped)} files that are not DICOM slices"
    problem = f"contains {files}; skipped{_named(folder, skipped)}"
    return [warning("dicom-skipped", folder, problem, "Check that no slice of the series is among them.")]


def _named(folder: str | Path, files: dict[Path, str]) -> str:
    """List files relative to their folder, with their kinds; UIDs and patients' names are left out."""
    names = {path.relative_to(folder).as_posix(): kind for path, kind in files.items()}
    shown = [f"{name} [{kind}]" if kind else name for name, kind in names.items() if not is_identifying(name)]
    if not shown:
        return ""
    return f" ({', '.join(shown[:_MAX_NAMES])}{', …' if len(files) > len(shown[:_MAX_NAMES]) else ''})"


def _in_order(slices: Sequence[DicomSlice]) -> tuple[DicomSlice, ...]:
    heights = DicomSeries("", tuple(slices)).heights_mm
    if heights is None:
        return tuple(slices)
    return tuple(slices[index] for index in np.argsort(heights, kind="stable"))
