"""Metrics of masks as pure functions on arrays, and the registry of metrics."""

from i2net_bundle.metrics.class_scores import ClassScores, score_classes
from i2net_bundle.metrics.conventions import CONVENTIONS, Convention
from i2net_bundle.metrics.mask_pair import MaskPair
from i2net_bundle.metrics.objects import ObjectScores, find_glands, score_objects
from i2net_bundle.metrics.overlap import MeanIoU, confusion_matrix, intersection_over_union
from i2net_bundle.metrics.registry import METRICS, Metric, register
from i2net_bundle.metrics.surface import directed_hausdorff, pooled_hausdorff, surface_dice, surface_distances
from i2net_bundle.metrics.uncertainty import bootstrap_interval

__all__ = [
    "CONVENTIONS",
    "METRICS",
    "ClassScores",
    "Convention",
    "MaskPair",
    "MeanIoU",
    "Metric",
    "ObjectScores",
    "bootstrap_interval",
    "confusion_matrix",
    "directed_hausdorff",
    "find_glands",
    "intersection_over_union",
    "pooled_hausdorff",
    "register",
    "score_classes",
    "score_objects",
    "surface_dice",
    "surface_distances",
]
