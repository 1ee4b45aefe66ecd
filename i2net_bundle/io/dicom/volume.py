"""Read a DICOM series as a volume, in HU if it is a CT.

SimpleITK, through GDCM, decodes the slices and applies the rescale slope and intercept of each. The geometry comes from
the headers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  the library's own abbreviation

from i2net_bundle.io.dicom.dicom_slice import DicomSlice
from i2net_bundle.io.dicom.headers import allowed_bytes
from i2net_bundle.io.dicom.series import DicomSeries, damage_finding, find_series
from i2net_bundle.io.dicom.series_checks import series_findings
from i2net_bundle.io.findings import DataError, Finding, error, errors, warning

_AIR_HU = -1024
_MAX_TISSUE_HU = 3071
"""Largest HU of 12-bit scanners."""
_MAX_INT16 = 2**15 - 1


def read_series(
    folder: str | Path, chosen: int | str | None = None, ct: bool = True
) -> tuple[sitk.Image, list[Finding]]:
    """Read one series as a volume.

    Padding that is brighter than air is replaced: by -1024 HU in a CT, else by the darkest value of the image.

    Args:
        folder: folder to search, with its subfolders.
        chosen: number or UID of the series; see `find_series`.
        ct: whether it must be a CT; otherwise it must not be one.

    Returns:
        voxels after rescaling, indexed (columns, rows, slices), in the scanner's orientation and LPS coordinates in mm,
        without any header; and the warnings.

    Raises:
        DataError: no series or several match, or the series is not one complete regular volume of that kind.
    """
    series, findings = find_series(folder, chosen)
    findings += series_findings(folder, series, ct)
    if errors(findings):
        raise DataError(errors(findings))
    image = _decoded(folder, series)
    first = series.slices[0]
    assert first.orientation is not None and first.spacing_mm is not None and first.normal is not None
    axes = [first.orientation[:3], first.orientation[3:], first.normal]
    image.SetDirection(np.array(axes).T.ravel().tolist())
    image.SetSpacing([*first.spacing_mm, series.slice_spacing_mm])
    image.SetOrigin(first.position_mm)
    return _without_padding(folder, series, image, findings)


def _decoded(folder: str | Path, series: DicomSeries) -> sitk.Image:
    claimed, stored = (sum(getattr(item, name) for item in series.slices) for name in ("decoded_bytes", "file_bytes"))
    if claimed > allowed_bytes(stored):
        problem = "claims more pixels than its files can hold"
        raise DataError([error("dicom-unreadable", folder, problem, "Copy or export the series again.")])
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([str(item.path) for item in series.slices])
    if len({(item.bits, item.signed, item.rescale) for item in series.slices}) > 1:  # else the first slice's type wraps
        reader.SetOutputPixelType(_common_type(series))
    try:
        return reader.Execute()
    except RuntimeError:  # names no file, and may quote the header
        paths = [item.path for item in series.slices]
        damaged = [path for path in paths if not _can_be_decoded(path)] or paths
        what = "decoded: damaged, or in an unknown compression"
        remedy = "Copy or export the series again, uncompressed."
        raise DataError([damage_finding(folder, damaged, what, remedy)]) from None


def _common_type(series: DicomSeries) -> int:
    rescales = [item.rescale or (1.0, 0.0) for item in series.slices]
    integral = all(value.is_integer() for rescale in rescales for value in rescale)
    return int(sitk.sitkInt32 if integral else sitk.sitkFloat32)


def _without_padding(
    folder: str | Path, series: DicomSeries, image: sitk.Image, findings: list[Finding]
) -> tuple[sitk.Image, list[Finding]]:
    ct = series.modality == "CT"
    ranges = [list(_padding_ranges(item)) for item in series.slices]
    if any(high > _AIR_HU for found in ranges for _, high in found):
        image, found_padding = _filled(folder, image, ranges, ct)
        findings = [*findings, *found_padding]
    if ct and any(not item.signed and item.bits[1] == 16 for item in series.slices):
        brightest = sitk.GetArrayViewFromImage(image).max()
        if brightest > _MAX_INT16:
            problem = f"holds values up to {brightest:g} HU: padding or negative numbers stored as unsigned"
            remedy = "Export the series again, with signed pixels or with its PixelPaddingValue."
            raise DataError([error("dicom-unsigned", folder, problem, remedy)])
    return image, findings


def _filled(
    folder: str | Path, image: sitk.Image, ranges: list[list[tuple[float, float]]], ct: bool
) -> tuple[sitk.Image, list[Finding]]:
    """Replace padding that is brighter than air.

    Padding surrounds the scanned circle. Values that no corner of a slice has are therefore kept if they could be those
    of tissue: some programs declare a padding of 0 and store water as 0.
    """
    voxels = sitk.GetArrayFromImage(image)  # (slices, rows, columns)
    padding = np.zeros(voxels.shape, bool)
    for values, is_padding, found in zip(voxels, padding, ranges, strict=True):
        corners = values[:: values.shape[0] - 1 or 1, :: values.shape[1] - 1 or 1]
        for low, high in found:
            if (ct and low > _MAX_TISSUE_HU) or ((corners >= low) & (corners <= high)).any():
                is_padding |= (values >= low) & (values <= high)
    fill = _AIR_HU if ct else voxels.min(where=~padding, initial=voxels.max())
    bright = padding & (voxels > fill)
    if not bright.any():
        return image, []
    problem = (
        f"holds {bright.sum()} voxels of padding (PixelPaddingValue) as bright as {voxels[bright].max():g}; they were "
        f"set to {fill:g}"
    )
    voxels[bright] = fill
    filled = sitk.GetImageFromArray(voxels)
    filled.CopyInformation(image)
    return filled, [warning("dicom-padding", folder, problem, "Check that they lie outside the scanned circle.")]


def _padding_ranges(item: DicomSlice) -> Iterator[tuple[float, float]]:
    """Yield the ranges of rescaled values that padding can have.

    A padding value may be written with the other sign, or not fit into the bits stored, which GDCM cuts off.
    """
    if item.padding is None:
        return
    slope, intercept = item.rescale or (1.0, 0.0)
    for bits in sorted(set(item.bits)):
        stored = sorted(_wrapped(value, bits, item.signed) for value in item.padding)
        yield tuple(sorted(slope * value + intercept for value in stored))  # type: ignore[misc]


def _wrapped(value: int, bits: int, signed: bool) -> int:
    value %= 2**bits
    return value - 2**bits if signed and value >= 2 ** (bits - 1) else value


def _can_be_decoded(path: Path) -> bool:
    try:
        sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    except RuntimeError:
        return False
    return True
