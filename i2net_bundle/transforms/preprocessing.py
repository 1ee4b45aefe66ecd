"""The one definition of preprocessing: training, evaluation and inference all build on these.

``*_reading`` gives arrays in a fixed orientation with their stored values; ``*_intensity`` scales those values for
the network; ``*_preprocessing`` is one after the other. CT volumes become (1, P, L, S): rows run to posterior, columns
to the patient's left, so a slice is what a radiologist sees. Histology images become (3, rows, columns).
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import PILReader
from monai.transforms import (
    AsDiscreted,
    CastToTyped,
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    MapTransform,
    NormalizeIntensityd,
    Orientationd,
    ScaleIntensityRanged,
    Transform,
)
from PIL import Image

IMAGE, LABEL = "image", "label"
WINDOW_HU = (-125.0, 275.0)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def ct_reading(keys: Sequence[str]) -> Compose:
    """Read CT volumes (and labels) from NIfTI as (1, P, L, S), in HU.

    Args:
        keys: "image", and "label" where there is one; both must lie on one grid.
    """
    return Compose(
        [
            LoadImaged(keys, reader="NibabelReader"),
            EnsureChannelFirstd(keys, channel_dim="no_channel"),
            SameGridd(keys),
            Orientationd(keys, axcodes="PLS", labels=None),
        ]
    )


def ct_intensity(window_hu: Sequence[float] = WINDOW_HU) -> Transform:
    """Clip to the window and scale it to [0, 1].

    Args:
        window_hu: lower and upper bound, in HU.
    """
    return ScaleIntensityRanged(IMAGE, window_hu[0], window_hu[1], 0.0, 1.0, clip=True)


def ct_preprocessing(keys: Sequence[str] = (IMAGE,), window_hu: Sequence[float] = WINDOW_HU) -> Compose:
    """A CT file to what the network sees, before the slices are resized.

    Args:
        keys: "image", and "label" where there is one.
        window_hu: lower and upper bound, in HU.
    """
    return Compose([*ct_reading(keys).transforms, ct_intensity(window_hu)])


def histology_reading(keys: Sequence[str]) -> Compose:
    """Read PNG or BMP images as RGB (3, H, W) in 0-255, and instance annotations as binary masks (1, H, W).

    Args:
        keys: "image", and "label" where there is one; both must have one size.
    """
    transforms: list[Transform] = [
        LoadImaged(IMAGE, reader=PILReader, converter=_as_rgb, reverse_indexing=False),
        EnsureChannelFirstd(IMAGE, channel_dim=-1),
    ]
    if LABEL in keys:
        transforms += [
            LoadImaged(LABEL, reader=PILReader, reverse_indexing=False),
            EnsureChannelFirstd(LABEL, channel_dim="no_channel"),
            SameGridd(keys),
            AsDiscreted(LABEL, threshold=0.5),
        ]
    return Compose(transforms)


def histology_intensity() -> Transform:
    """Normalise 0-255 RGB with ImageNet's mean and standard deviation."""
    mean, std = 255 * np.array(IMAGENET_MEAN), 255 * np.array(IMAGENET_STD)
    return Compose([CastToTyped(IMAGE, np.float32), NormalizeIntensityd(IMAGE, mean, std, channel_wise=True)])


def histology_preprocessing(keys: Sequence[str] = (IMAGE,)) -> Compose:
    """A histology file to what the network sees.

    Args:
        keys: "image", and "label" where there is one.
    """
    return Compose([*histology_reading(keys).transforms, histology_intensity()])


class SameGridd(MapTransform):
    """Refuse items that do not lie on one grid: different shapes, or corners further apart than 0.001 mm.

    Args:
        keys: items to compare with the first of them.
    """

    tolerance_mm = 1e-3

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` unchanged.

        Raises:
            ValueError: the items differ in shape or affine; names both files.
        """
        first, *others = self.keys
        for other in others:
            names = f"{data[first].meta['filename_or_obj']} and {data[other].meta['filename_or_obj']}"
            shapes = tuple(data[first].shape[1:]), tuple(data[other].shape[1:])
            if shapes[0] != shapes[1]:
                raise ValueError(f"{names} differ in shape: {shapes[0]} and {shapes[1]}. Resample one to the other.")
            affines = data[first].affine, data[other].affine
            if _largest_corner_distance(affines[0] - affines[1], shapes[0]) > self.tolerance_mm:
                raise ValueError(
                    f"{names} differ in geometry:\n{affines[0].numpy()}\n{affines[1].numpy()}\n"
                    "Correct the header that is wrong; a label must lie on its image's grid."
                )
        return dict(data)


def _largest_corner_distance(affine_difference: torch.Tensor, shape: Sequence[int]) -> float:
    """How far two affines place the corners of one grid apart, in mm."""
    corners = itertools.product(*([0, size - 1] for size in shape))
    rank = affine_difference.shape[0] - 1
    points = torch.tensor([[*corner, *[0] * (rank - len(shape)), 1] for corner in corners]).to(affine_difference)
    return float((points @ affine_difference.t())[:, :rank].norm(dim=1).max())


def _as_rgb(image: Image.Image) -> Image.Image:
    return image.convert("RGB")
