"""The one definition of preprocessing: training, evaluation and inference all build on these.

``*_reading`` gives arrays in a fixed orientation with their stored values; ``*_intensity`` scales those values for
the network; ``*_preprocessing`` is one after the other. CT volumes become (1, P, L, S): rows run to posterior, columns
to the patient's left, so a slice is what a radiologist sees. Histology images become (3, rows, columns).
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
    ScaleIntensityRanged,
    Transform,
)

from i2net_bundle.checks.histology import load_image, load_mask, scale_to_training
from i2net_bundle.checks.histology import pair_findings as size_findings
from i2net_bundle.checks.scans import load_ct, load_ct_pair
from i2net_bundle.io.findings import Finding, enforce
from i2net_bundle.io.nifti import has_geometry
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.transforms.resizing import resize_images, resize_labels

IMAGE, LABEL = "image", "label"
LENGTH_UNIT = "length_unit"
"""Key of an item's ``meta``: "mm", "voxel" where a volume's spacing is unknown, or "pixel"."""
SCALE = "scale_to_training"
"""Key of a histology image's ``meta``: by how much it is to be magnified to reach the training scale."""
WINDOW_HU = (-125.0, 275.0)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def ct_reading(keys: Sequence[str], options: VolumeOptions | None = None) -> Compose:
    """Read CT volumes (and labels) from NIfTI as (1, P, L, S), in HU.

    Args:
        keys: "image", and "label" where there is one; both must lie on one grid.
        options: how to settle what a file leaves open.
    """
    return Compose([LoadCTd(keys, options or VolumeOptions()), Orientationd(keys, axcodes="PLS", labels=None)])


def ct_intensity(window_hu: Sequence[float] = WINDOW_HU) -> Transform:
    """Clip to the window and scale it to [0, 1].

    Args:
        window_hu: lower and upper bound, in HU.
    """
    return ScaleIntensityRanged(IMAGE, window_hu[0], window_hu[1], 0.0, 1.0, clip=True)


def ct_preprocessing(
    keys: Sequence[str] = (IMAGE,), options: VolumeOptions | None = None, intensity: Transform | None = None
) -> Compose:
    """A CT file to what the network sees, before the slices are resized.

    Args:
        keys: "image", and "label" where there is one.
        options: how to settle what a file leaves open.
        intensity: stored values to the network's; default `ct_intensity`.
    """
    return Compose([*ct_reading(keys, options).transforms, intensity or ct_intensity()])


def histology_reading(keys: Sequence[str], options: HistologyOptions | None = None) -> Compose:
    """Read training images as RGB (3, H, W) in 0-255, and annotations as binary masks (1, H, W).

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
) -> Compose:
    """A histology file to what the network sees, on the file's own grid; the inferer resizes where that is asked for.

    Args:
        keys: "image", and "label" where there is one.
        options: what is declared about the files.
        intensity: stored values to the network's; default `histology_intensity`.
    """
    return Compose([LoadHistologyd(keys, options or HistologyOptions()), intensity or histology_intensity()])


class LoadCTd(MapTransform):
    """Read and check CT files, and their labels, as (1, X, Y, Z) on one grid; warnings are logged.

    Args:
        keys: "image", and "label" where there is one.
        options: how to settle what a file leaves open.
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
            image, label, findings = load_ct_pair(data[IMAGE], data[LABEL], self.options)
            loaded[LABEL] = _ct_tensor(label, data[LABEL])
        else:
            image, findings = load_ct(data[IMAGE], self.options)
        loaded[IMAGE] = _ct_tensor(image, data[IMAGE])
        return loaded, findings


class LoadHistologyd(MapTransform):
    """Read and check histology files: images (3, H, W), masks binary (1, H, W); warnings are logged.

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
            labels = mask if self.options.label_values == "classes" else mask > 0
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


def _ct_tensor(image: nib.Nifti1Image, path: str | Path) -> MetaTensor:
    unit = "mm" if has_geometry(image) else "voxel"
    return _with_geometry(np.asarray(image.dataobj)[None], image.affine, path, unit)


def _with_geometry(array: np.ndarray, affine: np.ndarray, path: str | Path, unit: str = "pixel") -> MetaTensor:
    """An array (C, ...) that knows where it lies, in which unit of length, and which file it comes from.

    The order of memory stays: NIfTI has slices one after the other, which is how they are used.
    """
    meta = {"filename_or_obj": str(path), LENGTH_UNIT: unit, "original_channel_dim": 0}
    if min(array.strides) < 0:  # PyTorch has no such views
        array = array.copy(order="K")
    return MetaTensor(torch.from_numpy(array), affine=torch.from_numpy(affine), meta=meta)
