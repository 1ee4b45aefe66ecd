"""Files -> what the network sees, and masks -> back to the file's grid."""

from i2net_bundle.transforms.augmentation import ct_training, histology_training
from i2net_bundle.transforms.preprocessing import (
    ct_intensity,
    ct_preprocessing,
    ct_reading,
    histology_intensity,
    histology_preprocessing,
    histology_reading,
)

__all__ = [
    "ct_intensity",
    "ct_preprocessing",
    "ct_reading",
    "ct_training",
    "histology_intensity",
    "histology_preprocessing",
    "histology_reading",
    "histology_training",
]
