"""The one definition of preprocessing: training, evaluation and inference all build on these.

``*_reading`` gives arrays in a fixed orientation, with stored values, or normalised ones where that needs the whole
volume; ``*_intensity`` scales them point by point for the network; ``*_preprocessing`` is one after the other. Volumes
become (C, P, L, S): rows run to posterior, columns to the patient's left, so a slice is what a radiologist sees.
Histology images become (3, rows, columns).
"""

from __future__ import annotations

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
from i2net_bundle.io.nifti import has_geometry
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.transforms.normalization import NormalizeChannelsd, window
from i2net_bundle.transforms.resizing import resize_images, resize_labels

IMAGE, LABEL = "image", "label"
LENGTH_UNIT = "length_unit"
"""Key of an item's ``meta``: "mm", "voxel" where a volume's spacing is unknown, or "pixel"."""
SCALE = "scale_to_training"
"""Key of a histology image's ``meta``: by how much it is to be magnified to reach the training scale."""
WINDOW_HU = (-125.0, 275.0)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocessing(Compose):
    """A file to what the network sees, in named steps; ``transforms`` lists them one after the other, as MONAI does.

    Args:
        load: reads and checks the files; `LoadVolumed` or `LoadHistologyd`.
        orientation: turns volumes to the fixed orientation; inverted for masks.
        normalization: stored values to normalised ones, volume by volume.
        intensity: point by point to the network's values; nothing for training's cache, which keeps what precedes it.
    """

    def __init__(
        self,
        load: LoadVolumed | LoadHistologyd,
        orientation: Transform | None = None,
        normalization: Transform | None = None,
        intensity: Transform | None = None,
    ) -> None:
        steps = (load, orientation, normalization, intensity)
        super().__init__([step for step in steps if step is not None])
        self.load, self.orientation, self.normalization, self.intensity = steps

    def read(self, data: Mapping[Hashable, Any]) -> tuple[dict[Hashable, Any], list[Finding]]:
        """Load files and turn volumes: stored values in the fixed orientation, and what the checks found.

        Args:
            data: paths under the keys of ``load``.

        Raises:
            DataError: a file cannot be read any further; other errors are among the findings.
        """
        loaded, findings = self.load.read(data)
        return _applied((self.orientation,), loaded), findings

    def scale(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Stored values, as `read` gives them, to what the network sees; ``data`` itself keeps the stored values."""
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
        keys: "image", and "label" where there is one; both must lie on one grid.
        options: channels, and how to settle what a file leaves open.
    """
    options = options or VolumeOptions()
    unitless = not all(map(is_ct, options.channels))
    return Preprocessing(
        LoadVolumed(keys, options),
        Orientationd(keys, axcodes="PLS", labels=None),
        NormalizeChannelsd(IMAGE, options.channels) if unitless else None,
    )


def volume_intensity(window_hu: Sequence[float] = WINDOW_HU, channels: Sequence[str] = CT) -> Transform:
    """Clip CT channels to the window and scale it to [0, 1]; other channels stay as the reading normalised them.

    Args:
        window_hu: lower and upper bound, in HU.
        channels: names of the image's channels.
    """
    return window(window_hu, channels, IMAGE)


def volume_preprocessing(
    keys: Sequence[str] = (IMAGE,), options: VolumeOptions | None = None, intensity: Transform | None = None
) -> Preprocessing:
    """A volume to what the network sees, before the slices are resized.

    Args:
        keys: "image", and "label" where there is one.
        options: channels, and how to settle what a file leaves open.
        intensity: the reading's values to the network's; default `volume_intensity` of the options' channels.
    """
    options = options or VolumeOptions()
    reading = volume_reading(keys, options)
    intensity = intensity or volume_intensity(channels=options.channels)
    return Preprocessing(reading.load, reading.orientation, reading.normalization, intensity)


def histology_reading(keys: Sequence[str], options: HistologyOptions | None = None) -> Compose:
    """Read training images as RGB (3, H, W) in 0-255 and masks as class ids (1, H, W), at the training scale.

    Args:
        keys: "image", and "label" where there is one; both must have one size.
        options: what is declared about the files.
    """
    load = LoadHistologyd(keys, options or HistologyOptions())
    return Compose([load, ToTrainingScaled(keys)])


def histology_intensity() -> Transform:
    """Normalise 0-255 RGB with ImageNet's mean and standard deviation."""
    mean, std = 255 * np.array(IMAGENET_MEAN), 255 * np.array(IMAGENET_STD)
    return Compose([CastToTyped(IMAGE, np.float32), NormalizeIntensityd(IMAGE, mean, std, channel_wise=True)])


def histology_preprocessing(
    keys: Sequence[str] = (IMAGE,), options: HistologyOptions | None = None, intensity: Transform | None = None
) -> Preprocessing:
    """A histology file to what the network sees, on the file's own grid; the inferer resizes where that is asked for.

    Args:
        keys: "image", and "label" where there is one.
        options: what is declared about the files.
        intensity: stored values to the network's; default `histology_intensity`.
    """
    load = LoadHistologyd(keys, options or HistologyOptions())
    return Preprocessing(load, intensity=intensity or histology_intensity())


class LoadVolumed(MapTransform):
    """Read and check volumes as (C, X, Y, Z), and their labels as (1, X, Y, Z) on one grid; warnings are logged.

    Args:
        keys: "image", and "label" where there is one.
        options: channels, and how to settle what a file leaves open.
    """

    def __init__(self, keys: KeysCollection, options: VolumeOptions) -> None:
        super().__init__(keys)
        self.options = options

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with paths replaced by what they hold.

        Raises:
            DataError: a file cannot be used, or label and image differ in grid; names them and the remedy.
        """
        loaded, findings = self.read(data)
        enforce(findings)
        return loaded

    def read(self, data: Mapping[Hashable, Any]) -> tuple[dict[Hashable, Any], list[Finding]]:
        """The same, and what the checks found; only what keeps a file from being read further is raised."""
        loaded = dict(data)
        if LABEL in self.keys:
            image, label, findings = load_volume_pair(data[IMAGE], data[LABEL], self.options)
            loaded[LABEL] = _volume_tensor(label, data[LABEL])
        else:
            image, findings = load_volume(data[IMAGE], self.options)
        loaded[IMAGE] = _volume_tensor(image, image_paths(data)[0])
        return loaded, findings


class LoadHistologyd(MapTransform):
    """Read and check histology files: images (3, H, W), masks of class ids (1, H, W); warnings are logged.

    Masks that are declared as instances or binary become 0 and 1; all others stay as they are.

    Args:
        keys: "image", and "label" where there is one.
        options: what is declared about the files.
    """

    def __init__(self, keys: KeysCollection, options: HistologyOptions) -> None:
        super().__init__(keys)
        self.options = options

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with paths replaced by what they hold.

        Raises:
            DataError: a file cannot be used, or mask and image differ in size; names them and the remedy.
        """
        loaded, findings = self.read(data)
        enforce(findings)
        return loaded

    def read(self, data: Mapping[Hashable, Any]) -> tuple[dict[Hashable, Any], list[Finding]]:
        """The same, and what the checks found; only what keeps a file from being read further is raised."""
        path = data[IMAGE]
        image, findings = load_image(path, self.options)
        loaded = {**data, IMAGE: _with_geometry(np.moveaxis(image, -1, 0), np.eye(4), path)}
        loaded[IMAGE].meta[SCALE] = scale_to_training(path, self.options)
        if LABEL in self.keys:
            mask, found = load_mask(data[LABEL], self.options)
            findings = findings + found
            findings += size_findings(path, image.shape[1::-1], data[LABEL], mask.shape[::-1])
            labels = mask if self.options.has_class_ids else mask > 0
            loaded[LABEL] = _with_geometry(labels.astype(np.uint8)[None], np.eye(4), data[LABEL])
        return loaded, findings


class ToTrainingScaled(MapTransform):
    """Resize an image, and its label, by what its ``meta`` says it must be magnified to reach the training scale."""

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
    """An array (C, ...) that knows where it lies, in which unit of length, and which file it comes from.

    The order of memory stays: NIfTI has slices one after the other, which is how they are used.
    """
    meta = {"filename_or_obj": str(path), LENGTH_UNIT: unit, "original_channel_dim": 0}
    if min(array.strides) < 0:  # PyTorch has no such views
        array = array.copy(order="K")
    return MetaTensor(torch.from_numpy(array), affine=torch.from_numpy(affine), meta=meta)
