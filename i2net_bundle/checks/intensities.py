"""Check that a CT is in Hounsfield units; normalised images, offset CT and MR would give wrong masks silently."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from i2net_bundle.io.channels import MAX_TISSUE_HU
from i2net_bundle.io.findings import Finding, error, warning

_SAMPLE = 2_000_000
_PADDING_BELOW = -1500.0  # scanners fill outside their circle with -2000, -3024 and the like
_MAX_STORED_HU = 32767
_GO_ON = "If these are Hounsfield units after all, set any_intensities (--any-intensities)."


def nonfinite_findings(voxels: np.ndarray, path: str | Path) -> list[Finding]:
    """Count NaN and infinite voxels."""
    if not np.issubdtype(voxels.dtype, np.floating):
        return []
    nan, inf = int(np.isnan(voxels).sum()), int(np.isinf(voxels).sum())
    if not nan + inf:
        return []
    remedy = "Convert the scan again, or fill them with fill_nonfinite: -1024 (--fill-nonfinite -1024)."
    return [error("nonfinite", path, f"contains {nan} NaN and {inf} infinite voxels of {voxels.size}", remedy)]


def constant_findings(voxels: np.ndarray, path: str | Path, channel: str, alone: bool) -> list[Finding]:
    """Report a constant channel of arbitrary units; an error if it is the only channel."""
    low, high = float(voxels.min()), float(voxels.max())
    if low != high:
        return []
    kind = error if alone else warning
    return [kind("constant", path, f"contains one value, {low:g}, as channel {channel}", "Use the original scan.")]


def intensity_findings(voxels: np.ndarray, path: str | Path) -> list[Finding]:
    """Judge a CT by its distribution of values.

    Args:
        voxels: finite, (X, Y, Z).
        path: for the message.
    """
    low, high = float(voxels.min()), float(voxels.max())
    shown = f"values run from {low:g} to {high:g}"
    if low == high:
        return [error("constant", path, f"contains one value, {low:g}", "Use the original scan.")]
    if low > -30 and high < 30:
        problem = f"looks normalised already, or is a label map: {shown}"
        return [error("normalised", path, problem, f"Use the CT in Hounsfield units. {_GO_ON}")]
    if low >= 0 and high <= 255:
        problem = f"looks windowed to 8 bits: {shown}"
        return [error("normalised", path, problem, f"Use the CT in Hounsfield units. {_GO_ON}")]
    if high > _MAX_STORED_HU:
        problem = f"contains values up to {high:g} HU: padding or negative numbers stored as unsigned"
        remedy = f"Convert the scan again, with the negative numbers that it has. {_GO_ON}"
        return [error("unsigned", path, problem, remedy)]
    return _padding_findings(voxels, path) + _distribution_findings(voxels, path, shown)


def _padding_findings(voxels: np.ndarray, path: str | Path) -> list[Finding]:
    """Report corners of slices brighter than any tissue: they lie outside the scanned circle."""
    corners = voxels[:: max(1, voxels.shape[0] - 1), :: max(1, voxels.shape[1] - 1)]
    brightest = float(corners.max())
    if brightest <= MAX_TISSUE_HU:
        return []
    problem = f"has {brightest:g} HU in a corner of a slice, more than any tissue: probably padding"
    remedy = "Check it, and set padding to -1024 HU: the network may take it for an organ."
    return [warning("padding", path, problem, remedy)]


def _distribution_findings(voxels: np.ndarray, path: str | Path, shown: str) -> list[Finding]:
    sample = voxels.ravel(order="K")[:: max(1, voxels.size // _SAMPLE)]  # in memory order, without a copy
    sample = sample[sample > _PADDING_BELOW]
    if not sample.size:
        return [error("constant", path, f"contains only padding: {shown}", "Use the original scan.")]
    if np.mean(sample < -50) < 0.001:
        return _without_air_or_fat(sample, path, shown)
    body = sample[sample > -500]
    soft = float(np.mean((body >= -200) & (body <= 300))) if body.size else 0.0
    if soft < 0.5:
        problem = f"is an unusual CT: {soft:.0%} of the voxels that are not air lie between -200 and 300 HU; {shown}"
        return [warning("intensities", path, problem, "Check that it is a CT of the body, in Hounsfield units.")]
    return []


def _without_air_or_fat(sample: np.ndarray, path: str | Path, shown: str) -> list[Finding]:
    bright = sample[sample > 200]
    if bright.size > 0.05 * sample.size and np.mean((bright > 850) & (bright < 1300)) > 0.5:
        problem = f"looks like HU + 1024: {shown}, and most voxels that are not air lie around {np.median(bright):.0f}"
        return [error("offset", path, problem, f"Shift it with hu_offset: -1024 (--hu-offset -1024). {_GO_ON}")]
    if sample.min() < 0 and np.quantile(sample, 0.99) < 300:
        problem = f"contains neither air nor fat: {shown}"
        return [
            warning("intensities", path, problem, "Pass the whole scan; the network was not trained on such crops.")
        ]
    problem = f"does not look like CT: {shown}, and no voxel is as dark as air or fat"
    return [
        error(
            "not-ct",
            path,
            problem,
            f"If it is MR, name its channel (in the data list, or --channels MR); otherwise use a CT. {_GO_ON}",
        )
    ]
