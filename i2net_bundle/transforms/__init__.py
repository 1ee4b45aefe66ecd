"""Preprocessing: files to network inputs, the same in all workflows; and augmentation."""

from i2net_bundle.transforms.augmentation import histology_training, street_training, volume_training
from i2net_bundle.transforms.preprocessing import (
    histology_intensity,
    histology_preprocessing,
    histology_reading,
    volume_intensity,
    volume_preprocessing,
    volume_reading,
)

__all__ = [
    "histology_intensity",
    "histology_preprocessing",
    "histology_reading",
    "histology_training",
    "street_training",
    "volume_intensity",
    "volume_preprocessing",
    "volume_reading",
    "volume_training",
]
