"""Read a DICOM series as a volume, in HU if it is a CT.

SimpleITK, through GDCM, decodes the slices and applies the rescale slope and intercept of each, in a child process. The
geometry comes from the headers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from i2net_bundle.io.channels import MAX_TISSUE_HU
from i2net_bundle.io.dicom.dicom_slice import DicomSlice
from i2net_bundle.io.dicom.headers import allowed_bytes
from i2net_bundle.io.dicom.series import DicomSeries, damage_finding, find_series
from i2net_bundle.io.dicom.series_checks import series_findings
from i2net_bundle.io.findings import DataError, Finding, error, errors, warning
from i2net_bundle.io.itk_process import ItkError, ItkImage, read_dicom_with_itk

_AIR_HU = -1024
_MAX_INT16 = 2**15 - 1


def read_series(folder: str | Path, chosen: int | str | None = None, ct: bool = True) -> tuple[ItkImage, list[Finding]]:
    """Read one series as a volume.

    Padding that is brighter than air is replaced: by -1024 HU in a CT, else by the darkest value of the image.

    Args:
        folder: folder to search, with its subfolders.
        chosen: number or UID of the series; see `find_series`.
        ct: whether it must be a CT; otherwise it must not be one.

    Returns:
        the volume after rescaling, in the scanner's orientation, with its geometry in LPS mm; and the warnings.

    Raises:
        DataError: no series or several match, or the series is not one complete regular volume of that kind.
    """
    series, findings = find_series(folder, chosen)
    findings += series_findings(folder, series, ct)
    if errors(findings):
        raise DataError(errors(findings))
    voxels, found = _without_padding(folder, series, _decoded(folder, series))
    first, distance = series.slices[0], series.slice_spacing_mm
    assert first.orientation is not None and first.spacing_mm is not None and distance is not None
    assert first.position_mm is not None and first.normal is not None
    axes = [first.orientation[:3], first.orientation[3:], first.normal]
    image = ItkImage(
        size=voxels.shape[::-1],
        spacing=(*first.spacing_mm, distance),
        origin=first.position_mm,
        direction=tuple(np.array(axes).T.ravel().tolist()),
        components=1,
        kind=voxels.dtype.name,
        voxels=voxels,
    )
    return image, findings + found


def _decoded(folder: str | Path, series: DicomSeries) -> np.ndarray:
    """Voxels (slices, rows, columns)."""
    claimed, stored = (sum(getattr(item, name) for item in series.slices) for name in ("decoded_bytes", "file_bytes"))
    if claimed > allowed_bytes(stored):
        problem = "claims more pixels than its files can hold"
        raise DataError([error("dicom-unreadable", folder, problem, "Copy or export the series again.")])
    differ = len({(item.bits, item.signed, item.rescale) for item in series.slices}) > 1
    kind = _common_kind(series) if differ else None  # the first slice's type would wrap the values of others
    paths = [item.path for item in series.slices]
    try:
        voxels = read_dicom_with_itk(paths, claimed, kind).voxels
    except ItkError:  # names no file, and may quote the header
        damaged = [item.path for item in series.slices if not _can_be_decoded(item)] or paths
        what = "decoded: damaged, or in an unknown compression"
        remedy = "Copy or export the series again, uncompressed."
        raise DataError([damage_finding(folder, damaged, what, remedy)]) from None
    assert voxels is not None
    return voxels


def _common_kind(series: DicomSeries) -> str:
    rescales = [item.rescale or (1.0, 0.0) for item in series.slices]
    integral = all(value.is_integer() for rescale in rescales for value in rescale)
    return "int32" if integral else "float32"


def _without_padding(folder: str | Path, series: DicomSeries, voxels: np.ndarray) -> tuple[np.ndarray, list[Finding]]:
    """Voxels (slices, rows, columns) without bright padding, and the findings."""
    ct, findings = series.modality == "CT", list[Finding]()
    ranges = [list(_padding_ranges(item)) for item in series.slices]
    if any(high > _AIR_HU for found in ranges for _, high in found):
        voxels, findings = _filled(folder, voxels, ranges, ct)
    if ct and any(not item.signed and item.bits[1] == 16 for item in series.slices):
        brightest = voxels.max()
        if brightest > _MAX_INT16:
            problem = f"contains values up to {brightest:g} HU: padding or negative numbers stored as unsigned"
            remedy = "Export the series again, with signed pixels or with its PixelPaddingValue."
            raise DataError([error("dicom-unsigned", folder, problem, remedy)])
    return voxels, findings


def _filled(
    folder: str | Path, voxels: np.ndarray, ranges: list[list[tuple[float, float]]], ct: bool
) -> tuple[np.ndarray, list[Finding]]:
    """Replace padding that is brighter than air.

    Padding surrounds the scanned circle. Values that no corner of a slice has are therefore kept if they could be those
    of tissue: some programs declare a padding of 0 and store water as 0.
    """
    padding = np.zeros(voxels.shape, bool)
    for values, is_padding, found in zip(voxels, padding, ranges, strict=True):
        corners = values[:: values.shape[0] - 1 or 1, :: values.shape[1] - 1 or 1]
        for low, high in found:
            if (ct and low > MAX_TISSUE_HU) or ((corners >= low) & (corners <= high)).any():
                is_padding |= (values >= low) & (values <= high)
    fill = _AIR_HU if ct else voxels.min(where=~padding, initial=voxels.max())
    bright = padding & (voxels > fill)
    if not bright.any():
        return voxels, []
    problem = (
        f"contains {bright.sum()} voxels of padding (PixelPaddingValue) as bright as {voxels[bright].max():g}; they "
        f"were set to {fill:g}"
    )
    voxels[bright] = fill
    return voxels, [warning("dicom-padding", folder, problem, "Check that they lie outside the scanned circle.")]


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


def _can_be_decoded(item: DicomSlice) -> bool:
    try:
        read_dicom_with_itk([item.path], item.decoded_bytes)
    except ItkError:
        return False
    return True
