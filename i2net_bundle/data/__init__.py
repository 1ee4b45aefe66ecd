"""Cases, labels and channels of data sets; phantoms for trying things out."""

from i2net_bundle.data.datalist import DataList, dataset_name, load_cases, read_datalist
from i2net_bundle.data.description import DataDescription, describe_dataset
from i2net_bundle.data.image_files import list_images

__all__ = [
    "DataDescription",
    "DataList",
    "dataset_name",
    "describe_dataset",
    "list_images",
    "load_cases",
    "read_datalist",
]
