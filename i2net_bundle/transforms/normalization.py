"""Normalise channels of arbitrary units per volume, as is usual for MR.

A channel's name decides how (`i2net_bundle.io.channels.normalization_of`). CT is windowed point by point in the
intensity stage instead.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, ScaleIntensityRanged, Transform
from torch import Tensor

from i2net_bundle.io.channels import is_ct, normalization_of

PERCENTILES = (0.5, 99.5)
_EPSILON = 1e-8


def z_score(volume: Tensor, percentiles: Sequence[float] = PERCENTILES) -> Tensor:
    """Clip to percentiles of the non-zero voxels, then subtract their mean and divide by their standard deviation.

    Voxels of 0, outside a masked or skull-stripped body, stay 0.

    Args:
        volume: any shape and type.
        percentiles: lower and upper bound, in per cent.

    Returns:
        float32, the same shape.
    """
    values = volume.float()
    inside = values != 0
    body = values[inside]
    if not body.numel():
        return values
    low, high = (_percentile(body, share) for share in percentiles)
    body = body.clamp(low, high)
    scaled = torch.zeros_like(values)
    scaled[inside] = (body - body.double().mean()).float() / max(float(body.double().std(correction=0)), _EPSILON)
    return scaled


def rescale(volume: Tensor) -> Tensor:
    """Scale to [0, 1] by minimum and maximum; float32, the same shape."""
    values = volume.float()
    low, high = values.min(), values.max()
    return (values - low) / (high - low).clamp_min(_EPSILON)


class NormalizeChannelsd(MapTransform):
    """Normalise every channel of a volume by its name, except CT.

    Args:
        keys: images (C, ...).
        channels: their names.
    """

    def __init__(self, keys: KeysCollection, channels: Sequence[str]) -> None:
        super().__init__(keys)
        self.channels = tuple(channels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with images as float32, normalised."""
        normalized = dict(data)
        for key in self.key_iterator(normalized):
            image = normalized[key]
            if len(image) != len(self.channels):
                raise ValueError(f"The image has {len(image)} channels, and {', '.join(self.channels)} were named.")
            result = torch.as_tensor(image).to(torch.float32, copy=True)
            for index, channel in enumerate(self.channels):
                result[index] = _normalized(result[index].as_subclass(Tensor), normalization_of(channel))
            normalized[key] = result
        return normalized


class WindowChannelsd(MapTransform):
    """Clip an image's CT channels to a window and scale it to [0, 1]; other channels are unchanged.

    Args:
        keys: images (C, ...).
        window_hu: lower and upper bound, in HU.
        channels: their names.
    """

    def __init__(self, keys: KeysCollection, window_hu: Sequence[float], channels: Sequence[str]) -> None:
        super().__init__(keys)
        self.window_hu = tuple(window_hu)
        self.ct = [index for index, channel in enumerate(channels) if is_ct(channel)]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with images as float32, windowed."""
        windowed = dict(data)
        low, high = self.window_hu
        for key in self.key_iterator(windowed):
            result = torch.as_tensor(windowed[key]).to(torch.float32, copy=True)
            for index in self.ct:
                result[index] = ((result[index] - low) / (high - low)).clamp(0, 1)
            windowed[key] = result
        return windowed


def window(window_hu: Sequence[float], channels: Sequence[str], key: str) -> Transform:
    """Return the intensity stage of volumes; MONAI's own transform if CT is the only channel."""
    if len(channels) == 1 and is_ct(channels[0]):
        return ScaleIntensityRanged(key, window_hu[0], window_hu[1], 0.0, 1.0, clip=True)
    return WindowChannelsd(key, window_hu, channels)


def _normalized(channel: Tensor, how: str) -> Tensor:
    if how == "z-score":
        return z_score(channel)
    if how == "rescale":
        return rescale(channel)
    return channel / 255 if how == "rgb" else channel


def _percentile(values: Tensor, percent: float) -> float:
    """Interpolate linearly, as NumPy does; ``torch.quantile`` refuses more than 16 million values."""
    ordered = values.flatten().sort().values
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (ordered[above] - ordered[below]) * (place - below))
