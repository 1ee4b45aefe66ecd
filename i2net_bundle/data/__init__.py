"""Files -> cases -> slices; and phantoms to try everything on."""

from i2net_bundle.data.datalist import list_images, load_cases
from i2net_bundle.data.slices import EpochSampler, SliceDataset

__all__ = ["EpochSampler", "SliceDataset", "list_images", "load_cases"]
