"""Which cases a data set has and what its labels and channels are; phantoms to try everything on."""

from i2net_bundle.data.datalist import list_images, load_cases

__all__ = ["list_images", "load_cases"]
