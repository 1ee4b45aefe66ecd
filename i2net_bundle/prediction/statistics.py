"""Measure masks: volumes, mean values and extents of organs; counts and areas of glands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from scipy import ndimage

from i2net_bundle.io.channels import CT, is_ct
from i2net_bundle.metrics.objects import gland_pixel_runs
from i2net_bundle.metrics.pixel_runs import PixelRuns


def organ_statistics(
    mask: np.ndarray,
    values: np.ndarray,
    affine: np.ndarray,
    class_names: Sequence[str],
    has_geometry: bool = True,
    channels: Sequence[str] = CT,
) -> dict[str, dict[str, Any]]:
    """Measure every class in the mask of a volume.

    Args:
        mask: class indices (X, Y, Z).
        values: stored values of the image (X, Y, Z), or (C, X, Y, Z) for several channels; HU for CT.
        affine: voxel to mm (4, 4).
        class_names: background first.
        has_geometry: whether the voxel size is known; without it, volumes are omitted.
        channels: names of the image's channels.

    Returns:
        by class name: ``voxels``, ``volume_ml``, ``mean_hu`` and ``sd_hu`` for CT or ``mean_T2`` and ``sd_T2`` for a
        channel T2, ``bounding_box`` (first and last voxel along each axis of the file, from 0), and
        ``touches_border``: whether the volume's border cuts the organ off.

    Raises:
        ValueError: the number of channels differs from the number of names.
    """
    ml_per_voxel = float(np.prod(voxel_sizes(affine))) / 1000
    boxes = ndimage.find_objects(mask.astype(np.uint8, copy=False), max_label=len(class_names) - 1)
    measured = values[None] if values.ndim == mask.ndim else values  # (C, X, Y, Z)
    columns = _columns(channels)
    if len(measured) != len(columns):
        raise ValueError(f"The image has {len(measured)} channels, but the names are {', '.join(channels)}.")
    statistics = {}
    for index, (name, box) in enumerate(zip(class_names[1:], boxes, strict=True), 1):
        if box is None:
            continue
        inside = mask[box] == index
        of_channels = [channel[box][inside].astype(np.float64) for channel in measured]
        bounds = [[part.start, part.stop - 1] for part in box]
        at_border = [low == 0 or high == size - 1 for (low, high), size in zip(bounds, mask.shape, strict=True)]
        statistics[name] = {
            "voxels": int(inside.sum()),
            **({"volume_ml": round(int(inside.sum()) * ml_per_voxel, 3)} if has_geometry else {}),
            **{
                f"{kind}_{column}": _rounded(float(value), is_ct(channel))
                for channel, column, found in zip(channels, columns, of_channels, strict=True)
                for kind, value in (("mean", found.mean()), ("sd", found.std()))
            },
            "bounding_box": bounds,
            "touches_border": any(at_border),
        }
    return statistics


def _columns(channels: Sequence[str]) -> list[str]:
    """Name of each channel in the statistics, "hu" for CT; repeated names get a number."""
    names = ["hu" if is_ct(channel) else channel for channel in channels]
    return [
        name if names.count(name) == 1 else f"{name}_{names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    ]


def _rounded(value: float, hu: bool) -> float:
    """Round HU to a tenth; other units to four digits, because an ADC is of the order of 0.001."""
    return round(value, 1) if hu else float(f"{value:.4g}")


def gland_statistics(mask: np.ndarray, um_per_px: float | None = None) -> dict[str, Any]:
    """Measure the glands of a mask, counted as in the scores; see `i2net_bundle.metrics.find_glands`.

    Args:
        mask: 0 and 1, (H, W).
        um_per_px: micrometers per pixel, if known.

    Returns:
        ``count``; ``area_px`` of each gland including its lumen, with ``um_per_px`` also ``area_um2``; ``share`` of
        the image covered by the mask; and ``touching_border``, the number of glands cut off by the image's border.
    """
    inside = PixelRuns.of(mask)
    glands, number = gland_pixel_runs(inside)
    areas = np.bincount(number, glands.lengths).astype(int)
    statistics: dict[str, Any] = {"count": len(areas), "area_px": areas.tolist()}
    if um_per_px is not None:
        statistics["um_per_px"] = um_per_px
        statistics["area_um2"] = [round(float(area) * um_per_px**2, 1) for area in areas]
    at_border = np.unique(number[glands.at_border()])
    return statistics | {"share": round(int(inside.lengths.sum()) / mask.size, 6), "touching_border": len(at_border)}


def class_shares(mask: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
    """Share of an image covered by each class, including background.

    Args:
        mask: class indices (H, W).
        class_names: background first.
    """
    counts = np.bincount(mask.ravel(), minlength=len(class_names))
    return {name: round(float(count) / mask.size, 6) for name, count in zip(class_names, counts, strict=True)}


def flat_rows(case: str, statistics: dict[str, Any]) -> list[dict[str, Any]]:
    """Convert a case's statistics to rows of ``statistics.csv``: one per organ, or one per image.

    Args:
        case: name of the case.
        statistics: result of `organ_statistics`, `gland_statistics` or `class_shares`.
    """
    if all(isinstance(value, dict) for value in statistics.values()):
        return [{"case": case, "class": name, **_flat(values)} for name, values in statistics.items()]
    return [{"case": case, **_flat(statistics)}]


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in values.items():
        if name == "bounding_box":
            row |= {f"{axis}_{end}": bounds[k] for axis, bounds in zip("ijk", value, strict=True) for k, end in _ENDS}
        elif isinstance(value, list):
            row |= {f"total_{name}": round(sum(value), 1)} if name.startswith("area") else {}
            row[f"median_{name}"] = float(np.median(value)) if value else math.nan
        else:
            row[name] = value
    return row


_ENDS = ((0, "first"), (1, "last"))
