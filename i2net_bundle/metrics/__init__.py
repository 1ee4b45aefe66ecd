"""Masks -> figures."""

from i2net_bundle.metrics.classwise import ClasswiseMetric

__all__ = ["ClasswiseMetric"]
