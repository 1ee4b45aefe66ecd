"""Preprocessing, defined once for training, evaluation and inference.

``*_reading`` returns arrays in a fixed orientation, with stored values, or normalised ones where that needs the volume.
``*_intensity`` scales them point by point for the network. ``*_preprocessing`` does both. Volumes become (C, P, L, S):
rows run to posterior and columns to the patient's left, as radiologists view slices. Histology images become
(3, rows, columns).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import (
    CastToTyped,
    Compose,
    InvertibleTransform,
    MapTransform,
    NormalizeIntensityd,
    Orientationd,
    Transform,
)

from i2net_bundle.checks.histology import load_image, load_mask, scale_to_training
from i2net_bundle.checks.histology import pair_findings as size_findings
from i2net_bundle.checks.scans import load_volume, load_volume_pair
from i2net_bundle.data.image_files import image_paths
from i2net_bundle.io.channels import CT, is_ct
from i2net_bundle.io.findings import Finding, enforce
from i2net_bundle.io.geometry import has_geometry
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.transforms.normalization import NormalizeChannelsd, window
from i2net_bundle.transforms.resizing import resize_images, resize_labels

IMAGE, LABEL = "image", "label"
LENGTH_UNIT = "length_unit"
"""Key of an item's ``meta``: "mm", "voxel" where a volume's spacing is unknown, or "pixel"."""
SCALE = "scale_to_training"
"""Key of a histology image's ``meta``: the magnification that brings it to the training scale."""
WINDOW_HU = (-125.0, 275.0)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocessing(Compose):
    """A file to the network's input in named steps, which ``transforms`` also lists in order, as in MONAI.

    Args:
        load: reads and checks the files.
        orientation: turns volumes to the fixed orientation; inverted for masks.
        normalization: stored values to normalised ones, volume by volume.
        intensity: scales point by point to the network's values; None for training's cache.
    """

    def __init__(
        self,
        load: LoadFilesd,
        orientation: Transform | None = None,
        normalization: Transform | None = None,
        intensity: Transform | None = None,
    ) -> None:
        steps = (load, orientation, normalization, intensity)
        super().__init__([step for step in steps if step is not None])
        self.load, self.orientation, self.normalization, self.intensity = steps

    def read(self, data: Mapping[Hashable, Any]) -> tuple[dict[Hashable, Any], list[Finding]]:
        """Load files and reorient volumes; return stored values in the fixed orientation, and the findings.

        Args:
            data: paths under the keys of ``load``.

        Raises:
            DataError: a file cannot be read; other errors are among the findings.
        """
        loaded, findings = self.load.read(data)
        return _applied((self.orientation,), loaded), findings

    def inverse(self, data: Any) -> Any:
        """Undo the reorientation; ``data`` are returned unchanged if there is none, as for 2D images."""
        if any(isinstance(step, InvertibleTransform) for step in self.flatten().transforms):
            return super().inverse(data)
        return data

    def scale(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale stored values from `read` to the network's input; ``data`` itself is unchanged."""
        return _applied((self.normalization, self.intensity), data)


def _applied(steps: Sequence[Transform | None], data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    result = dict(data)
    for step in steps:
        if step is not None:
            result = step(result)
    return result


def volume_reading(keys: Sequence[str], options: VolumeOptions | None = None) -> Preprocessing:
    """Read volumes (and labels) as (C, P, L, S): CT in HU, other channels normalised volume by volume.

    Args:
        keys: "image", and optionally "label"; both must have one grid.
        options: channels, and what the user declares about the files.
    """
    options = options or VolumeOptions()
    unitless = not all(map(is_ct, options.channels))
    return Preprocessing(
        LoadVolumed(keys, options),
        Orientationd(keys, axcodes="PLS", labels=None),
        NormalizeChannelsd(IMAGE, options.channels) if unitless else None,
    )


def volume_intensity(window_hu: Sequence[float] = WINDOW_HU, channels: Sequence[str] = CT) -> Transform:
    """Clip CT channels to the window and scale it to [0, 1]; other channels are unchanged.

    Args:
        window_hu: lower and upper bound, in HU.
        channels: names of the image's channels.
    """
    return window(window_hu, channels, IMAGE)


def volume_preprocessing(
    keys: Sequence[str] = (IMAGE,), options: VolumeOptions | None = None, intensity: Transform | None = None
) -> Preprocessing:
    """Preprocess a volume to the network's input, before slices are resized.

    Args:
        keys: "image", and optionally "label".
        options: channels, and what the user declares about the files.
        intensity: values from the reading stage to the network's; default `volume_intensity` for the options' channels.
    """
    options = options or VolumeOptions()
    reading = volume_reading(keys, options)
    intensity = intensity or volume_intensity(channels=options.channels)
    return Preprocessing(reading.load, reading.orientation, reading.normalization, intensity)


def histology_reading(keys: Sequence[str], options: HistologyOptions | None = None, instances: bool = False) -> Compose:
    """Read training images as RGB (3, H, W) in 0-255 and masks as class ids (1, H, W), at the training scale.

    Args:
        keys: "image", and optionally "label"; both must have one size.
        options: what is declared about the files.
        instances: keep the instance ids of the masks instead of their class.

    Raises:
        ValueError: instance ids are to be kept, but the masks are not declared to contain any.
    """
    load = LoadHistologyd(keys, options or HistologyOptions(), instances)
    return Compose([load, ToTrainingScaled(keys)])


def histology_intensity() -> Transform:
    """Normalise 0-255 RGB with ImageNet's mean and standard deviation."""
    mean, std = 255 * np.array(IMAGENET_MEAN), 255 * np.array(IMAGENET_STD)
    return Compose([CastToTyped(IMAGE, np.float32), NormalizeIntensityd(IMAGE, mean, std, channel_wise=True)])


def histology_preprocessing(
    keys: Sequence[str] = (IMAGE,), options: HistologyOptions | None = None, intensity: Transform | None = None
) -> Preprocessing:
    """Preprocess a histology file to the network's input on the file's grid; the inferer resizes on request.

    Args:
        keys: "image", and optionally "label".
        options: what is declared about the files.
        intensity: stored values to the network's; default `histology_intensity`.
    """
    load = LoadHistologyd(keys, options or HistologyOptions())
    return Preprocessing(load, intensity=intensity or histology_intensity())


class LoadFilesd(MapTransform):
    """Read and check the files of an item; warnings are logged."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with paths replaced by arrays.

        Raises:
            DataError: a file cannot be used, or label and image differ in grid or size; names them and the remedy.
        """
        loaded, findings = self.read(data)
        enforce(findings)
        return loaded

    @abstractmethod
    def read(self, data: Mapping[Hashable, Any]) -> tuple[dict[Hashable, Any], list[Finding]]:
        """Return ``data`` with paths replaced by arrays, and the findings; faults that prevent reading are raised."""


class LoadVolumed(LoadFilesd):
    """Read and check volumes as (C, X, Y, Z), and their labels as (1, X, Y, Z) on one grid.

    Args:
        keys: "image", and optionally "label".
        options: channels, and what the user declares about the files.
    """

    def __init__(self, keys: KeysCollection, options: VolumeOptions) -> None:
        super().__init__(keys)
        self.options = options

    def read(self, data: Mapping[Hashable, Any]) -> tuple[dict[Hashable, Any], list[Finding]]:
        """Return ``data`` with arrays (C, X, Y, Z), and the findings."""
        loaded = dict(data)
        if LABEL in self.keys:
            image, label, findings = load_volume_pair(data[IMAGE], data[LABEL], self.options)
            loaded[LABEL] = _volume_tensor(label, data[LABEL])
        else:
            image, findings = load_volume(data[IMAGE], self.options)
        loaded[IMAGE] = _volume_tensor(image, image_paths(data)[0])
        return loaded, findings


class LoadHistologyd(LoadFilesd):
    """Read and check histology files: images (3, H, W), masks of class ids (1, H, W).

    Masks declared as instances or binary become 0 and 1; others are unchanged.

    Args:
        keys: "image", and optionally "label".
        options: what is declared about the files.
        instances: return instance ids, int32, instead of 0 and 1.

    Raises:
        ValueError: instance ids are to be returned, but the masks are not declared to contain any.
    """

    def __init__(self, keys: KeysCollection, options: HistologyOptions, instances: bool = False) -> None:
        super().__init__(keys)
        if instances and options.label_values != "instances":
            raise ValueError(
                "A network learns to separate glands from masks that number them, but label_values is "
                f"'{options.label_values}'. Use a data list with label_values: instances, or set separation to none."
            )
        self.options, self.instances = options, instances

    def read(self, data: Mapping[Hashable, Any]) -> tuple[dict[Hashable, Any], list[Finding]]:
        """Return ``data`` with arrays (C, H, W), and the findings."""
        path = data[IMAGE]
        image, findings = load_image(path, self.options)
        loaded = {**data, IMAGE: _with_geometry(np.moveaxis(image, -1, 0), np.eye(4), path)}
        loaded[IMAGE].meta[SCALE] = scale_to_training(path, self.options)
        if LABEL in self.keys:
            mask, found = load_mask(data[LABEL], self.options)
            findings = findings + found
            findings += size_findings(path, image.shape[1::-1], data[LABEL], mask.shape[::-1])
            labels = mask if self.options.has_class_ids or self.instances else mask > 0
            labels = labels.astype(np.int32 if self.instances else np.uint8)
            loaded[LABEL] = _with_geometry(labels[None], np.eye(4), data[LABEL])
        return loaded, findings


class ToTrainingScaled(MapTransform):
    """Resize an image and its label to the training scale, by the magnification in its ``meta``."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data``, items (C, H, W) resized: images by cubic interpolation, labels by nearest neighbours."""
        resized = dict(data)
        scale = resized[IMAGE].meta[SCALE]
        size = [max(1, round(side * scale)) for side in resized[IMAGE].shape[1:]]
        for key in self.key_iterator(resized):
            plain = torch.as_tensor(resized[key])[None]
            if key == LABEL:
                resized[key] = resize_labels(plain, size)[0]
            elif plain.shape[2:] != tuple(size):
                smooth = resize_images(plain.float(), size, antialias=True)[0]
                resized[key] = smooth.round().clamp(0, 255).to(plain.dtype)
        return resized


def _volume_tensor(image: nib.Nifti1Image, path: str | Path) -> MetaTensor:
    unit = "mm" if has_geometry(image) else "voxel"
    voxels = np.asarray(image.dataobj)
    channels_first = voxels[None] if voxels.ndim == 3 else np.moveaxis(voxels, -1, 0)
    return _with_geometry(channels_first, image.affine, path, unit)


def _with_geometry(array: np.ndarray, affine: np.ndarray, path: str | Path, unit: str = "pixel") -> MetaTensor:
    """Make a MetaTensor (C, ...) with affine, unit of length and file name.

    The memory order is kept: in NIfTI each slice is contiguous, which suits slice-wise use.
    """
    meta = {"filename_or_obj": str(path), LENGTH_UNIT: unit, "original_channel_dim": 0}
    if min(array.strides) < 0:  # PyTorch has no such views
        array = array.copy(order="K")
    return MetaTensor(torch.from_numpy(array), affine=torch.from_numpy(affine), meta=meta)
