"""Figures -> pages and pictures."""

from i2net_bundle.reports.live import MLflowRecord, ValidationImages
from i2net_bundle.reports.network_views import NetworkViews
from i2net_bundle.reports.pictures import ComparisonPictures

__all__ = ["ComparisonPictures", "MLflowRecord", "NetworkViews", "ValidationImages"]
