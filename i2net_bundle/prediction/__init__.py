"""Segment images: file in, mask out."""

from i2net_bundle.prediction.evaluator_run import run_evaluator
from i2net_bundle.prediction.gland_instances import SeparateGlandsd, gland_separator
from i2net_bundle.prediction.handlers import CaseProgressBar, LoadWeights
from i2net_bundle.prediction.inferers import SlicewiseInferer, WholeImageInferer
from i2net_bundle.prediction.padding import PaddedInferer
from i2net_bundle.prediction.saving import DropChanneld, SaveInstancesd, SaveMaskd

__all__ = [
    "CaseProgressBar",
    "DropChanneld",
    "LoadWeights",
    "PaddedInferer",
    "SaveInstancesd",
    "SaveMaskd",
    "SeparateGlandsd",
    "SlicewiseInferer",
    "WholeImageInferer",
    "gland_separator",
    "run_evaluator",
]
