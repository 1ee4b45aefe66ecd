"""The prediction for one image, on its file's own grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from i2net_bundle.figures.side_letters import NO_LETTERS
from i2net_bundle.io.findings import Finding, enforce
from i2net_bundle.labels import LabelClass
from i2net_bundle.prediction.ensemble import SEPARATION
from i2net_bundle.prediction.gland_instances import GlandSeparator
from i2net_bundle.prediction.gland_shapes import GlandShape, Read, gland_shapes, instance_statistics
from i2net_bundle.prediction.plausibility import MASK_RULE, implausible_findings
from i2net_bundle.prediction.statistics import class_shares, gland_statistics, organ_statistics


@dataclass
class Prediction:
    """Mask, statistics and maps of one image.

    Attributes:
        case: name of the case.
        image_path: its file, the first one of several channels, or the folder of its DICOM series.
        mask: class indices, uint8: (X, Y, Z) of a volume, (rows, columns) of a 2D image.
        affine: voxel to RAS mm (4, 4) of a volume.
        classes: classes with their colors and codes, background first.
        instances: numbers of the glands, 0 outside, int32 (rows, columns), of a network that separates them.
        glands: measurements of these glands.
        statistics: see `i2net_bundle.prediction.statistics`.
        maps: the requested maps: "entropy" (0 to 1), "variance" and "probability_0", …, float16, shaped like the mask.
        picture: the network's input, (C, H, W) or (1, H, W, D), and the mask on that grid.
        findings: warnings from the checks of the file and of the mask.
        series: number or UID of the chosen series of a DICOM folder.
        letters: letters at the edges of the picture's slices, see `side_letters`.
        trained_on: training data of the weights in words, if they are recorded.
    """

    case: str
    image_path: Path
    mask: np.ndarray
    affine: np.ndarray | None
    classes: tuple[LabelClass, ...]
    instances: np.ndarray | None = None
    glands: list[GlandShape] = field(default_factory=list)
    statistics: dict[str, Any] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    picture: tuple[np.ndarray, np.ndarray] | None = None
    findings: list[Finding] = field(default_factory=list)
    series: int | str | None = None
    letters: tuple[str, str] = NO_LETTERS
    trained_on: str | None = None

    @property
    def class_names(self) -> list[str]:
        """Class names, background first."""
        return [item.name for item in self.classes]

    @property
    def implausible(self) -> list[str]:
        """Problems that make the mask itself implausible, see `i2net_bundle.prediction.plausibility`."""
        return [finding.problem for finding in self.findings if finding.rule.startswith(MASK_RULE)]


def volume_prediction(
    base: Prediction,
    maps: np.ndarray,
    names: Sequence[str],
    stored: np.ndarray,
    channels: Sequence[str],
    has_geometry: bool,
) -> Prediction:
    """Complete the prediction for a volume: measure its organs, and warn about an implausible mask.

    Args:
        base: the prediction with its mask.
        maps: mask and further maps (M, X, Y, Z).
        names: names of the maps.
        stored: stored values of the image, (C, X, Y, Z).
        channels: names of the image's channels.
        has_geometry: whether the spacing is known.
    """
    assert base.affine is not None
    mask, affine = base.mask, base.affine
    implausible = implausible_findings(mask, affine, base.classes, base.image_path, has_geometry)
    enforce(implausible)
    return replace(
        base,
        statistics=organ_statistics(mask, stored, affine, base.class_names, has_geometry, channels),
        maps=dict(zip(names[1:], maps[1:], strict=True)),
        findings=[*base.findings, *implausible],
    )


def image_prediction(
    base: Prediction,
    maps: np.ndarray,
    names: Sequence[str],
    read: Read,
    um_per_px: float | None = None,
    separator: GlandSeparator | None = None,
) -> Prediction:
    """Complete the prediction for a 2D image: separate and measure its glands, or measure the share of each class.

    Args:
        base: the prediction with its mask.
        maps: mask and further maps (M, H, W).
        names: names of the maps.
        read: returns the pixels (h, w, 3), uint8, of rows and columns of the image.
        um_per_px: micrometers per pixel, if known.
        separator: divides the glands by the map "separation", if there is one.
    """
    kept = dict(zip(names[1:], maps[1:], strict=True))
    separation = kept.pop(SEPARATION, None)
    if separator is not None and separation is not None:
        ids = separator(base.mask, separation)
        glands = gland_shapes(ids, read)
        statistics = instance_statistics(base.mask, glands, um_per_px)
        return replace(base, instances=ids, glands=glands, statistics=statistics, maps=kept)
    two_classes = len(base.classes) == 2
    statistics = gland_statistics(base.mask, um_per_px) if two_classes else class_shares(base.mask, base.class_names)
    return replace(base, statistics=statistics, maps=kept)
