"""Figures -> pages and pictures."""

from i2net_bundle.reports.pictures import ComparisonPictures

__all__ = ["ComparisonPictures"]
