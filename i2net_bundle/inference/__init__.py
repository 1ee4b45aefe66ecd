"""A file -> a mask."""

from i2net_bundle.inference.inferers import SlicewiseInferer, WholeImageInferer

__all__ = ["SlicewiseInferer", "WholeImageInferer"]
