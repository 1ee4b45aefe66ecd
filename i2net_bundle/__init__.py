"""I²Net as a MONAI bundle: implicit-parameterized implicit functions for medical image segmentation."""

__version__ = "0.1.0"
