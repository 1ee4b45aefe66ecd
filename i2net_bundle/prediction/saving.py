"""Last steps of postprocessing: write mask and instances, or shape the mask for MONAI Label, which writes it itself."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, SaveImaged

from i2net_bundle.io.masks import instances_name, mask_name, write_instances, write_mask
from i2net_bundle.prediction.gland_instances import INSTANCES


class SaveMaskd(SaveImaged):
    """Save predicted masks in one folder as ``<image name>_mask``, each in its image's format; see `mask_name`.

    MONAI Label writes its results itself. It skips every transform of type ``SaveImaged``, and so this one.

    Args:
        keys: masks (1, ...) on the image file's own grid.
        output_dir: folder of the masks.
        image_key: key of the image that the masks belong to.
        overwrite: replace existing masks.
        num_classes: including background.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        image_key: str = "image",
        overwrite: bool = False,
        num_classes: int = 2,
    ) -> None:
        super().__init__(keys, output_dir=output_dir)
        self.output_dir, self.image_key, self.overwrite = Path(output_dir), image_key, overwrite
        self.num_classes = num_classes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the masks and return ``data`` unchanged."""
        image_path = Path(data[self.image_key].meta["filename_or_obj"])
        name = mask_name(image_path, data.get("case"))
        for key in self.key_iterator(data):
            mask = np.asarray(data[key])[0]
            affine = np.asarray(data[key].affine) if isinstance(data[key], MetaTensor) else None
            write_mask(mask, image_path, self.output_dir / name, self.overwrite, affine, self.num_classes)
        return dict(data)


class SaveInstancesd(SaveImaged):
    """Save the instances of glands in one folder as ``<image name>_instances.png``, where there are any.

    Like `SaveMaskd`, MONAI Label skips it.

    Args:
        output_dir: folder of the files.
        image_key: key of the image that the instances belong to.
        overwrite: replace existing files.
    """

    def __init__(self, output_dir: str | Path, image_key: str = "image", overwrite: bool = False) -> None:
        super().__init__(INSTANCES, output_dir=output_dir)
        self.output_dir, self.image_key, self.overwrite = Path(output_dir), image_key, overwrite

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the instances and return ``data`` unchanged."""
        if INSTANCES in data:
            name = instances_name(Path(data[self.image_key].meta["filename_or_obj"]), data.get("case"))
            write_instances(np.asarray(data[INSTANCES])[0], self.output_dir / name, self.overwrite)
        return dict(data)


class DropChanneld(MapTransform):
    """Remove the channel axis of masks, for MONAI Label: (1, X, Y, Z) to (X, Y, Z), (1, rows, columns) to (x, y).

    MONAI Label writes the result of postprocessing with the axes in ITK's order, x first, and would take the channel of
    a 2D mask for an axis.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with the masks' channel axis removed."""
        dropped = dict(data)
        for key in self.key_iterator(dropped):
            mask = dropped[key][0]
            dropped[key] = mask.T if mask.ndim == 2 else mask
        return dropped
