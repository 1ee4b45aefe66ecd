"""Resize between a slice's grid and the network's: cubic for images, nearest for labels, pixel areas aligned."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch import Tensor
from torch.nn import functional as F


def resize_images(images: Tensor, size: Sequence[int], antialias: bool = False) -> Tensor:
    """Resize images (N, C, H, W) by cubic interpolation; values can overshoot the input's range by a few per cent.

    Args:
        images: (N, C, H, W).
        size: rows and columns.
        antialias: whether to smooth when shrinking; CT protocols do not.
    """
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return F.interpolate(images, size=tuple(size), mode="bicubic", align_corners=False, antialias=antialias)


def resize_labels(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Resize labels (N, C, H, W) by nearest neighbours; the dtype is kept."""
    if tuple(labels.shape[2:]) == tuple(size):
        return labels
    return F.interpolate(labels.float(), size=tuple(size), mode="nearest-exact").to(labels.dtype)


class ResizeSliced(MapTransform):
    """Resize 2D items to the network's size.

    Args:
        keys: items (C, H, W).
        size: rows and columns, in pixels.
        label_keys: the keys among them that contain labels.
    """

    def __init__(self, keys: KeysCollection, size: Sequence[int], label_keys: Sequence[str] = ("label",)) -> None:
        super().__init__(keys)
        self.size = tuple(size)
        self.label_keys = tuple(label_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with every key resized."""
        resized = dict(data)
        for key in self.key_iterator(resized):
            resize = resize_labels if key in self.label_keys else resize_images
            resized[key] = resize(torch.as_tensor(resized[key])[None], self.size)[0]
        return resized
