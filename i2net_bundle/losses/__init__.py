"""Losses: segmentation, gate shaping, learner orthogonalization, and their weighted sum."""

from i2net_bundle.losses.segmentation import BoundaryWeightedLoss, CrossEntropyDiceLoss, OhemCrossEntropyLoss
from i2net_bundle.losses.separation_loss import SeparationLoss
from i2net_bundle.losses.total import I2NetLoss

__all__ = ["BoundaryWeightedLoss", "CrossEntropyDiceLoss", "I2NetLoss", "OhemCrossEntropyLoss", "SeparationLoss"]
