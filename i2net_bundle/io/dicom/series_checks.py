"""Check that a DICOM series is one complete, regular volume in a known unit.

Messages refer to slices by their numbers, from 1 along the normal, because files are often named by their UIDs.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from i2net_bundle.io.dicom.dicom_slice import DicomSlice
from i2net_bundle.io.dicom.series import DicomSeries
from i2net_bundle.io.findings import Finding, error, warning

_SAME_POSITION_MM = 0.01
_LARGEST_TILT_DEG = 35.0
"""Gantries tilt by up to 30°."""
_REEXPORT = "Export the series again from the PACS, unprocessed."


def series_findings(folder: str | Path, series: DicomSeries, ct: bool = True) -> list[Finding]:
    """Find the faults that keep a series from being read as a volume, and warnings.

    Args:
        folder: folder for the messages.
        series: the series as listed.
        ct: whether it must be a CT; otherwise it must not be one.
    """
    findings = _modality_findings(folder, series, ct)
    frames = max(item.num_frames for item in series.slices)
    if frames > 1:
        problem = f"stores {frames} slices in one file (multi-frame)"
        remedy = "Convert it with dcm2niix and pass the NIfTI file."
        return [*findings, error("dicom-multiframe", folder, problem, remedy)]
    faults = _attribute_findings(folder, series)
    if faults:
        return [*findings, *faults]
    first = series.slices[0]
    other = next((index for index, item in enumerate(series.slices) if not item.has_grid_of(first)), None)
    if other is not None:
        problem = (
            f"mixes slices of different size, pixel spacing or orientation: {_pair(series, 0, other)} are "
            f"{_grid(first)}, and {_grid(series.slices[other])}"
        )
        return [*findings, error("dicom-mixed", folder, problem, "Keep the slices of one volume in the folder.")]
    findings += _line_findings(folder, series)
    findings += _spacing_findings(folder, series)
    return [*findings, *_unit_findings(folder, series)]


def _modality_findings(folder: str | Path, series: DicomSeries, ct: bool) -> list[Finding]:
    modalities = sorted({item.modality or "unknown" for item in series.slices})
    if ct and modalities != ["CT"]:
        problem = f"has modality {' and '.join(modalities)}, not CT"
        remedy = "Choose a CT series: the network was trained on Hounsfield units."
        return [error("dicom-modality", folder, problem, remedy)]
    if not ct and "CT" in modalities:
        problem = f"has modality {' and '.join(modalities)}, but the channel is not named CT"
        remedy = "Choose a series of the channel's modality, or a network for CT."
        return [error("dicom-modality", folder, problem, remedy)]
    return []


def _attribute_findings(folder: str | Path, series: DicomSeries) -> list[Finding]:
    """Report missing and invalid attributes, and stored values whose meaning is not defined."""
    counts = Counter(fault for item in series.slices for fault in item.faults)
    for item in series.slices:
        if item.photometric != "MONOCHROME2":
            counts[f"PhotometricInterpretation {item.photometric or 'missing'} instead of MONOCHROME2"] += 1
    if series.num_slices == 1 and series.slice_spacing_mm is None:
        counts["no SliceThickness, which is needed for a single slice"] += 1
    if any(item.rescale for item in series.slices):
        counts["no RescaleSlope and RescaleIntercept, unlike the others"] += sum(
            item.rescale is None for item in series.slices
        )
    return [
        error("dicom-attributes", folder, f"has {count} of {series.num_slices} slices with {fault}", _REEXPORT)
        for fault, count in counts.items()
        if count
    ]


def _line_findings(folder: str | Path, series: DicomSeries) -> list[Finding]:
    """Every slice must lie within half a pixel of the line along the normal through the others.

    With a tilted gantry, each slice is shifted in its plane in proportion to its height, which no regular grid can
    represent.
    """
    orientation, spacing, heights = series.slices[0].orientation, series.slices[0].spacing_mm, series.heights_mm
    assert orientation is not None and spacing is not None and heights is not None
    in_plane = np.array([item.position_mm for item in series.slices]) @ np.reshape(orientation, (2, 3)).T  # (slices, 2)
    tolerance_mm = min(spacing) / 2
    off_line_mm = np.linalg.norm(in_plane - np.median(in_plane, axis=0), axis=1)
    if off_line_mm.max() <= tolerance_mm:
        return []
    design = np.stack([heights, np.ones_like(heights)], axis=1)
    fit = np.linalg.lstsq(design, in_plane, rcond=None)[0]  # (2, 2): slope and offset
    tilt_deg = float(np.rad2deg(np.arctan(np.linalg.norm(fit[0]))))
    off_fit_mm = np.linalg.norm(in_plane - design @ fit, axis=1).max()
    if tilt_deg <= _LARGEST_TILT_DEG and off_fit_mm <= min(tolerance_mm, off_line_mm.max() / 10):
        problem = f"was acquired with the gantry tilted by {tilt_deg:.1f}°"
        remedy = "Convert it with dcm2niix, which corrects the tilt, and pass the NIfTI file it names …_Tilt."
        return [error("dicom-tilt", folder, problem, remedy)]
    moved = np.flatnonzero(off_line_mm > tolerance_mm) + 1
    slices = f"slice {moved[0]}" if len(moved) == 1 else f"{len(moved)} slices ({moved[0]} to {moved[-1]})"
    problem = f"has {slices} up to {off_line_mm.max():.1f} mm out of line with the other slices, in-plane"
    remedy = "Check that all slices belong to one acquisition, and export the series again."
    return [error("dicom-position", folder, problem, remedy)]


def _spacing_findings(folder: str | Path, series: DicomSeries) -> list[Finding]:
    """Every slice must lie within 0.1 mm, or a tenth of the spacing, of its place on a regular grid."""
    heights, usual = series.heights_mm, series.slice_spacing_mm
    assert heights is not None and usual is not None
    gaps = np.diff(heights)
    if len(gaps) == 0:
        return []
    if gaps.min() < _SAME_POSITION_MM:
        doubles = int((gaps < _SAME_POSITION_MM).sum())
        problem = f"has {doubles} repeated slice positions, the first at {_neighbours(series, gaps.argmin())}"
        remedy = "Keep one slice per position: export a single phase, without repeats."
        return [error("dicom-duplicates", folder, problem, remedy)]
    off_grid_mm = np.abs(heights - np.linspace(heights[0], heights[-1], len(heights))).max()
    if off_grid_mm <= max(0.1, 0.1 * usual):
        return []
    odd = np.abs(gaps - usual).argmax()
    problem = (
        f"has missing slices or irregular spacing: {gaps[odd]:.4g} mm between {_neighbours(series, odd)}, but mostly "
        f"{usual:.4g} mm"
    )
    remedy = "Export the whole series again; if its spacing varies by design, dcm2niix writes an even NIfTI (…_Eq)."
    return [error("dicom-spacing", folder, problem, remedy)]


def _unit_findings(folder: str | Path, series: DicomSeries) -> list[Finding]:
    """A CT must be in Hounsfield units."""
    if series.modality != "CT":
        return []
    units = sorted({item.rescale_type for item in series.slices} - {"HU", "", "US"})
    if units:
        problem = f"has the RescaleType {', '.join(units)} instead of HU"
        return [error("dicom-unit", folder, problem, "Choose a series in Hounsfield units.")]
    remedy = "Check that the values are Hounsfield units."
    if any(item.rescale_type == "US" for item in series.slices):
        return [warning("dicom-unit", folder, "has the RescaleType US (unspecified) instead of HU", remedy)]
    if all(item.rescale is None for item in series.slices):
        problem = "has no RescaleSlope and RescaleIntercept; the stored values were taken as Hounsfield units"
        return [warning("dicom-unit", folder, problem, remedy)]
    return []


def _grid(item: DicomSlice) -> str:
    assert item.spacing_mm is not None and item.orientation is not None
    axes = ", ".join(f"{value + 0.0:.2f}" for value in item.orientation)  # no negative zeros
    spacing = f"{item.spacing_mm[0]:.3g} × {item.spacing_mm[1]:.3g} mm"
    return f"{item.size[0]} × {item.size[1]}, {spacing}, orientation {axes}"


def _neighbours(series: DicomSeries, index: int | np.intp) -> str:
    return _pair(series, int(index), int(index) + 1)


def _pair(series: DicomSeries, first: int, second: int) -> str:
    heights = series.heights_mm
    assert heights is not None
    return f"slices {first + 1} and {second + 1} (at {heights[first]:.1f} and {heights[second]:.1f} mm)"
