"""Masks -> figures."""

from i2net_bundle.metrics.classwise import ClasswiseMetric
from i2net_bundle.metrics.scores import CaseScores

__all__ = ["CaseScores", "ClasswiseMetric"]
