"""Masks to scores: pure functions on arrays."""

from i2net_bundle.metrics.objects import ObjectScores, find_glands, score_objects
from i2net_bundle.metrics.overlap import MeanIoU, confusion_matrix, dice, intersection_over_union
from i2net_bundle.metrics.protocols import ClassScores, score_classes
from i2net_bundle.metrics.surface import directed_hausdorff, pooled_hausdorff, surface_dice, surface_distances
from i2net_bundle.metrics.uncertainty import bootstrap_interval

__all__ = [
    "ClassScores",
    "MeanIoU",
    "ObjectScores",
    "bootstrap_interval",
    "confusion_matrix",
    "dice",
    "directed_hausdorff",
    "find_glands",
    "intersection_over_union",
    "pooled_hausdorff",
    "score_classes",
    "score_objects",
    "surface_dice",
    "surface_distances",
]
