"""A DICOM series: is it a whole regular volume, and its voxels, in HU where it is a CT.

Read with SimpleITK, whose GDCM decodes compressed slices and applies the rescale slope and intercept. Messages tell
slices by their places in the series: files are often named by their UIDs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813, its usual name

from i2net_bundle.io.dicom.series import DicomSeries, DicomSlice, damage_finding, find_series
from i2net_bundle.io.findings import DataError, Finding, error

_MAX_TILT_DEG = 0.5
_SAME_POSITION_MM = 0.01


def read_series(folder: str | Path, chosen: int | str | None = None, ct: bool = True) -> sitk.Image:
    """Read one series as a volume.

    Args:
        folder: where to look, with the folders below it.
        chosen: which series, by number or UID; see `find_series`.
        ct: whether it must be a CT; otherwise it must not be one.

    Returns:
        voxels with the rescale slope and intercept applied (in HU where it is a CT), indexed (columns, rows, slices),
        in the scanner's orientation and LPS coordinates, without any header.

    Raises:
        DataError: no series or several could be meant, or the series is not one whole regular volume of that kind.
    """
    series = find_series(folder, chosen)
    findings = series_findings(folder, series, ct)
    if findings:
        raise DataError(findings)
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([str(item.path) for item in series.slices])
    try:
        return reader.Execute()
    except RuntimeError as cause:  # does not tell the file
        paths = [item.path for item in series.slices]
        damaged = [path for path in paths if not _can_be_decoded(path)] or paths
        what = "decoded: damaged, or compressed in an unknown way"
        remedy = "Copy or export the series again, uncompressed."
        raise DataError([damage_finding(folder, damaged, what, remedy)]) from cause


def series_findings(folder: str | Path, series: DicomSeries, ct: bool = True) -> list[Finding]:
    """Find what keeps a series from being one whole regular volume; all are errors.

    Args:
        folder: for the messages.
        series: as listed.
        ct: whether it must be a CT; otherwise it must not be one.
    """
    findings = []
    if ct and series.modality != "CT":
        problem = f"has modality {series.modality or 'unknown'}, not CT"
        remedy = "Choose a CT series: the network was trained on Hounsfield units."
        findings.append(error("dicom-modality", folder, problem, remedy))
    elif not ct and series.modality == "CT":
        problem = "has modality CT, and the channel is not named CT"
        remedy = "Choose the series of the modality that the channels name, or a network for CT."
        findings.append(error("dicom-modality", folder, problem, remedy))
    frames = max(item.num_frames for item in series.slices)
    if frames > 1:
        problem = f"has {frames} slices in one file"
        remedy = "Convert it with dcm2niix and pass the NIfTI file."
        return [*findings, error("dicom-multiframe", folder, problem, remedy)]
    first = series.slices[0]
    other = next((index for index, item in enumerate(series.slices) if not item.has_grid_of(first)), None)
    if other is not None:
        problem = (
            f"mixes slices of different size, pixel spacing or orientation: {_pair(series, 0, other)} are "
            f"{_grid(first)}, and {_grid(series.slices[other])}"
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
        problem = f"has slices at one position, {doubles} more than positions: {_neighbours(series, gaps.argmin())}"
        remedy = "Keep one of each: export a single phase, without the repeats."
        return [error("dicom-duplicates", folder, problem, remedy)]
    off_grid_mm = np.abs(heights - np.linspace(heights[0], heights[-1], len(heights))).max()
    if off_grid_mm <= max(0.1, 0.1 * usual):
        return []
    odd = np.abs(gaps - usual).argmax()
    problem = (
        f"misses slices or is spaced irregularly: {gaps[odd]:.4g} mm between {_neighbours(series, odd)}, and mostly "
        f"{usual:.4g} mm"
    )
    remedy = "Export the whole series again; if its spacing varies by design, dcm2niix writes an even NIfTI (…_Eq)."
    return [error("dicom-spacing", folder, problem, remedy)]


def _can_be_decoded(path: Path) -> bool:
    try:
        sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    except RuntimeError:
        return False
    return True


def _grid(item: DicomSlice) -> str:
    normal = ", ".join(f"{value:.2f}" for value in item.normal + 0.0)  # no minus zeros
    return f"{item.size[0]} × {item.size[1]}, {item.spacing_mm[0]:.3g} × {item.spacing_mm[1]:.3g} mm, normal {normal}"


def _neighbours(series: DicomSeries, index: int | np.intp) -> str:
    return _pair(series, int(index), int(index) + 1)


def _pair(series: DicomSeries, first: int, second: int) -> str:
    """Two slices by their numbers, from 1 in the direction of the normal, and by their positions along it."""
    heights = series.heights_mm
    return f"slices {first + 1} and {second + 1} (at {heights[first]:.1f} and {heights[second]:.1f} mm)"
