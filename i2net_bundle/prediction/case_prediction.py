"""The prediction for one image, on its file's own grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from i2net_bundle.io.findings import Finding
from i2net_bundle.labels import LabelClass


@dataclass
class Prediction:
    """Mask, statistics and maps of one image.

    Attributes:
        case: name of the case.
        image_path: its file, the first one of several channels, or the folder of its DICOM series.
        mask: class indices, uint8: (X, Y, Z) of a volume, (rows, columns) of a 2D image.
        affine: voxel to RAS mm (4, 4) of a volume.
        classes: classes with their colors and codes, background first.
        statistics: see `i2net_bundle.prediction.statistics`.
        maps: the requested maps: "entropy" (0 to 1), "variance" and "probability_0", …, float16, shaped like the mask.
        picture: the network's input, (C, H, W) or (1, H, W, D), and the mask on that grid.
        findings: warnings from the checks of the file and of the mask.
        series: number or UID of the chosen series of a DICOM folder.
        trained_on: training data of the weights in words, if they are recorded.
    """

    case: str
    image_path: Path
    mask: np.ndarray
    affine: np.ndarray | None
    classes: tuple[LabelClass, ...]
    statistics: dict[str, Any]
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    picture: tuple[np.ndarray, np.ndarray] | None = None
    findings: list[Finding] = field(default_factory=list)
    series: int | str | None = None
    trained_on: str | None = None

    @property
    def class_names(self) -> list[str]:
        """Class names, background first."""
        return [item.name for item in self.classes]

    @property
    def implausible(self) -> list[str]:
        """Problems that make the mask itself implausible, see `i2net_bundle.prediction.plausibility`."""
        return [finding.problem for finding in self.findings if finding.rule.startswith(MASK_RULE)]


MASK_RULE = "mask-"
"""Prefix of the rules whose findings are about the predicted mask."""
