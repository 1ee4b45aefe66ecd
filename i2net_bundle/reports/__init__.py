"""Reports of runs, comparisons of runs, and previews of data sets."""

from i2net_bundle.figures.case_panels import ComparisonPictures
from i2net_bundle.reports.live import MLflowRecord, ValidationImages
from i2net_bundle.reports.network_views import NetworkViews

__all__ = ["ComparisonPictures", "MLflowRecord", "NetworkViews", "ValidationImages"]
