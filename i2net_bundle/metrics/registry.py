"""The registry of metrics. To add a metric, add one entry here and one pure function.

Evaluation (``metrics.csv``, ``summary.json``, the table on the terminal), the report and the comparison of runs read
the registry, and list no metric themselves.

Classes are scored by two protocols side by side, because published figures follow one or the other. The name of such a
metric starts with its protocol.

- ``transunet`` is what TransUNet's test code computes and later papers report: Dice and medpy's HD95, the 95th
  percentile of both directions pooled. The distance is in voxels, although the papers print mm. A missed organ scores
  distance 0, so it *improves* the mean HD95.
- ``strict`` is what MONAI's ``DiceMetric`` and ``HausdorffDistanceMetric(percentile=95)`` compute, plus surface Dice.
  MONAI's values are undefined for missed and invented classes, so its means ignore them; ``strict`` penalises them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

from i2net_bundle.metrics.mask_pair import ABSENT, INVENTED, MISSED, MaskPair
from i2net_bundle.metrics.surface import directed_hausdorff, pooled_hausdorff
from i2net_bundle.metrics.surface import surface_dice as surface_dice_of_masks

SURFACE_TOLERANCE_MM = 2.0
DIAGONAL: Literal["diagonal"] = "diagonal"
"""Penalty of a distance: the diagonal of the whole image."""
UNIT_NAMES = {"pixel": "px", "voxel": "voxels"}
"""Units of a spacing as printed, where they differ from the files'."""


@dataclass(frozen=True)
class Protocol:
    """A rule of scoring that several metrics share.

    Attributes:
        title: heading of its table in a comparison.
        rule: what it computes, in full sentences, as printed in reports.
    """

    title: str
    rule: str


PROTOCOLS = {
    "strict": Protocol(
        "Protocol strict: MONAI's metrics, missed and invented classes penalised",
        "MONAI's Dice and HD95 (the larger of the two directed 95th percentiles), and surface Dice at "
        f"{SURFACE_TOLERANCE_MM:g} mm. A missed or invented class scores 0, and the image's diagonal as its distance; "
        "a class in neither mask is left out.",
    ),
    "transunet": Protocol(
        "Protocol transunet: as TransUNet and later papers score, distances in voxels",
        "TransUNet's Dice and HD95 (medpy, both directions pooled), in voxels or pixels. A missed class scores (0, 0), "
        "an invented one (1, 0), a class in neither mask (0, 0).",
    ),
    "size": Protocol(
        "Sizes: predicted against true",
        "Predicted minus true size; a class in one mask only has size 0 in the other.",
    ),
    "object": Protocol(
        "Glands as objects, scored as in the GlaS challenge",
        "The GlaS challenge's F1, Dice and Hausdorff distance in pixels, of glands as objects.",
    ),
}


@dataclass(frozen=True)
class Metric:
    """A metric: how to compute it, and how to show it.

    Attributes:
        name: column in ``metrics.csv`` and key in ``summary.json``.
        function: pure function of a `MaskPair`, or of an `ObjectScores` if the level is "object"; returns NaN where the
            metric is undefined.
        label: name for readers; starts with the protocol's name where the same metric exists under several.
        protocol: key of `PROTOCOLS`.
        unit: "share" for a number from 0 to 1; "distance" for the unit of the case's spacing; "voxel" for voxels or
            pixels; otherwise the unit as printed, such as "mL", or "" for a plain number.
        better: which direction is better; None if neither is, as for signed differences.
        missed: value for a class in the truth only; None applies the function.
        invented: value for a class in the prediction only; likewise.
        absent: value for a class in neither; likewise.
        needs_mm: the metric is undefined unless the spacing is in mm.
        level: "class" for a value per class, "object" for a value per image.
        decimals: decimals in tables.
    """

    name: str
    function: Callable[[Any], float]
    label: str
    protocol: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = None
    missed: float | Literal["diagonal"] | None = None
    invented: float | Literal["diagonal"] | None = None
    absent: float | None = None
    needs_mm: bool = False
    level: Literal["class", "object"] = "class"
    decimals: int = 3

    def __post_init__(self) -> None:
        """Check the protocol's name."""
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"Metric '{self.name}': no protocol '{self.protocol}'. Known: {', '.join(PROTOCOLS)}.")

    def score(self, pair: MaskPair) -> float:
        """Value for one class of one case, following the rules for missed, invented and absent classes."""
        if self.needs_mm and pair.unit != "mm":
            return math.nan
        rules = {MISSED: self.missed, INVENTED: self.invented, ABSENT: self.absent}
        value = rules.get(pair.status)
        if value is None:
            return float(self.function(pair))
        return pair.diagonal if value == DIAGONAL else float(value)

    @property
    def is_distance(self) -> bool:
        """Whether the metric is a distance, which is undefined for a class that was not found."""
        return self.unit in ("distance", "voxel")

    @property
    def short_label(self) -> str:
        """Label without the protocol's name."""
        return self.label.removeprefix(f"{self.protocol} ")

    def shown_unit(self, distance_unit: str) -> str:
        """Unit for readers; empty for shares and plain numbers.

        Args:
            distance_unit: unit of the cases' spacing, see `MaskPair`.
        """
        grid_unit = "px" if distance_unit == "pixel" else "voxels"
        units = {"share": "", "distance": UNIT_NAMES.get(distance_unit, distance_unit), "voxel": grid_unit}
        return units.get(self.unit, self.unit)


def dice(pair: MaskPair) -> float:
    """Dice = 2 |A ∩ B| / (|A| + |B|)."""
    return 2 * int((pair.y_pred & pair.y).sum()) / (pair.pred_voxels + pair.label_voxels)


def strict_hd95(pair: MaskPair) -> float:
    """The larger of the two directed 95th percentiles of surface distances (MONAI), in the unit of the spacing."""
    return directed_hausdorff(*pair.distances)


def transunet_hd95(pair: MaskPair) -> float:
    """95th percentile of the surface distances of both directions pooled (medpy), in voxels."""
    return pooled_hausdorff(*pair.voxel_distances)


def surface_dice(pair: MaskPair) -> float:
    """Share of the two surfaces within `SURFACE_TOLERANCE_MM` of each other; see `metrics.surface.surface_dice`."""
    return surface_dice_of_masks(pair.y_pred, pair.y, pair.spacing, SURFACE_TOLERANCE_MM)


def volume_difference_ml(pair: MaskPair) -> float:
    """Predicted minus true volume, in mL."""
    return pair.pred_ml - pair.label_ml


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "strict_dice",
            dice,
            "strict Dice",
            "strict",
            unit="share",
            better="higher",
            missed=0,
            invented=0,
            absent=math.nan,
        ),
        Metric(
            "strict_hd95",
            strict_hd95,
            "strict HD95",
            "strict",
            unit="distance",
            better="lower",
            missed=DIAGONAL,
            invented=DIAGONAL,
            absent=math.nan,
            decimals=2,
        ),
        Metric(
            "strict_surface_dice",
            surface_dice,
            "strict surface Dice",
            "strict",
            unit="share",
            better="higher",
            missed=0,
            invented=0,
            absent=math.nan,
            needs_mm=True,
        ),
        Metric(
            "transunet_dice",
            dice,
            "transunet Dice",
            "transunet",
            unit="share",
            better="higher",
            missed=0,
            invented=1,
            absent=0,
        ),
        Metric(
            "transunet_hd95",
            transunet_hd95,
            "transunet HD95",
            "transunet",
            unit="voxel",
            better="lower",
            missed=0,
            invented=0,
            absent=0,
            decimals=2,
        ),
        Metric("volume_difference_ml", volume_difference_ml, "volume difference", "size", unit="mL", decimals=2),
        Metric("object_f1", attrgetter("f1"), "object F1", "object", unit="share", better="higher", level="object"),
        Metric(
            "object_dice", attrgetter("dice"), "object Dice", "object", unit="share", better="higher", level="object"
        ),
        Metric(
            "object_hausdorff",
            attrgetter("hausdorff"),
            "object Hausdorff",
            "object",
            unit="voxel",
            better="lower",
            level="object",
            decimals=2,
        ),
    )
}
"""All metrics by name, in the order of their columns."""


def register(metric: Metric) -> None:
    """Register a metric that is defined outside this module.

    Raises:
        ValueError: the name is taken.
    """
    if metric.name in METRICS:
        raise ValueError(f"A metric named '{metric.name}' already exists. Choose another name.")
    METRICS[metric.name] = metric


def metrics_of(level: Literal["class", "object"]) -> list[Metric]:
    """Metrics of classes, or of objects."""
    return [metric for metric in METRICS.values() if metric.level == level]
