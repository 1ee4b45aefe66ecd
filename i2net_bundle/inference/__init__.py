"""A file -> a mask."""

from i2net_bundle.inference.handlers import CaseProgressBar, LoadWeights
from i2net_bundle.inference.inferers import SlicewiseInferer, WholeImageInferer
from i2net_bundle.inference.masks import DropChanneld, SaveMaskd

__all__ = ["CaseProgressBar", "DropChanneld", "LoadWeights", "SaveMaskd", "SlicewiseInferer", "WholeImageInferer"]
