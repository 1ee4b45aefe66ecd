"""The last steps of postprocessing: write the mask, and leave what MONAI Label writes itself."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, SaveImaged

from i2net_bundle.io.masks import mask_name, write_mask


class SaveMaskd(SaveImaged):
    """Save predicted masks beside each other as ``<image name>_mask``, in their image's format; see `mask_name`.

    By its kind MONAI Label, which writes its results itself, knows that it is to leave this step out.

    Args:
        keys: masks (1, ...) in the image file's own grid.
        output_dir: folder of the masks.
        image_key: whose file a mask belongs to.
        overwrite: whether a mask that is there already may be replaced.
        num_classes: background included.
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


class DropChanneld(MapTransform):
    """Leave a mask's axes alone, x first as ITK counts them: (1, X, Y, Z) to (X, Y, Z), (1, rows, columns) to (x, y).

    MONAI Label writes what postprocessing leaves, and would take the channel of an image's mask for an axis.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with the masks' channel gone."""
        dropped = dict(data)
        for key in self.key_iterator(dropped):
            mask = dropped[key][0]
            dropped[key] = mask.T if mask.ndim == 2 else mask
        return dropped
