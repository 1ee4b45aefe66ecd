"""Random transforms of training images. All draw from MONAI's random state, so a seed reproduces them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    Compose,
    RandFlipd,
    RandomizableTransform,
    RandSpatialCropd,
    RandZoomd,
    SpatialPadd,
    Transform,
)
from scipy import ndimage
from skimage.color import hed_from_rgb, rgb_from_hed
from torch import Tensor
from torch.nn import functional as F

from i2net_bundle.transforms.preprocessing import IMAGE, LABEL, histology_intensity, volume_intensity
from i2net_bundle.transforms.resizing import ResizeSliced
from i2net_bundle.transforms.separation_targets import NO_SEPARATION, SeparationTargetd, separates

_KNOTS_PX = 64
"""Distance between the knots of an elastic deformation, in pixels of the patch: about a gland's radius."""


def volume_training(
    size: Sequence[int] = (224, 224), augment: bool = True, intensity: Transform | None = None
) -> Compose:
    """Turn a cached slice into a training item, as TransUNet does: window, augment on the slice's grid, resize.

    Args:
        size: rows and columns of the network's input.
        augment: whether to flip and rotate.
        intensity: stored values to the network's, as in evaluation; default `volume_intensity`.
    """
    augmentation = [RandTurnOrRotated()] if augment else []
    return Compose([intensity or volume_intensity(), *augmentation, ResizeSliced((IMAGE, LABEL), size)])


def histology_training(
    size: Sequence[int] = (512, 512),
    probability: float = 0.5,
    max_rotation_deg: float = 180.0,
    scale_range: Sequence[float] = (0.8, 1.25),
    color_strength: float = 0.2,
    stain_strength: float = 0.0,
    elastic_px: float = 0.0,
    intensity: Transform | None = None,
    separation: str = NO_SEPARATION,
) -> Compose:
    """Turn a cached histology image into a training patch: random crop with flip, rotation, scale and colour jitter.

    Args:
        size: rows and columns of the patch, in pixels.
        probability: of each augmentation.
        max_rotation_deg: largest rotation in either direction, in degrees.
        scale_range: smallest and largest magnification.
        color_strength: largest relative change of brightness, contrast, saturation and of each channel.
        stain_strength: largest relative change of each stain's density; 0 turns it off.
        elastic_px: standard deviation of the elastic deformation, in pixels of the patch; 0 turns it off.
        intensity: stored values to the network's, as in evaluation; default `histology_intensity`.
        separation: kind of separation map in the target, computed from the ids of the patch; see `SeparationTargetd`.
    """
    crop = RandAffineCropd(size, probability, max_rotation_deg, scale_range, elastic_px)
    stains = [RandStaind(probability, stain_strength)] if stain_strength else []
    colors = RandColorJitterd(probability, color_strength)
    targets = [SeparationTargetd(separation)] if separates(separation) else []
    return Compose([crop, *stains, colors, intensity or histology_intensity(), *targets])


def street_training(
    size: Sequence[int] = (769, 769),
    scale_range: Sequence[float] = (0.5, 2.0),
    ignore_index: int = 255,
    intensity: Transform | None = None,
) -> Compose:
    """Turn a cached street scene into a training crop: random scale, random crop, and a random flip of left and right.

    An image smaller than the crop is padded on all sides with the mean colour, and its label with ``ignore_index``.

    Args:
        size: rows and columns of the crop, in pixels.
        scale_range: smallest and largest magnification, drawn evenly.
        ignore_index: label of pixels that no loss counts.
        intensity: stored values to the network's, as in evaluation; default `histology_intensity`.
    """
    keys, (smallest, largest) = (IMAGE, LABEL), scale_range
    return Compose(
        [
            intensity or histology_intensity(),
            RandZoomd(keys, 1.0, smallest, largest, mode=("bilinear", "nearest-exact"), keep_size=False),
            SpatialPadd(IMAGE, size),  # the mean colour is 0
            SpatialPadd(LABEL, size, value=ignore_index),
            RandSpatialCropd(keys, size, random_size=False),
            RandFlipd(keys, prob=0.5, spatial_axis=1),
        ]
    )


class RandTurnOrRotated(RandomizableTransform):
    """TransUNet's augmentation: with p 0.5 a random multiple of 90° and a flip; else with p 0.5 a rotation.

    The rotation lies within ±20° and uses nearest neighbours for image and label, as the protocol does.
    """

    max_rotation_deg = 20

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with "image" (C, H, W) and "label" (1, H, W) transformed together."""
        moved = dict(data)
        if self.R.random() < 0.5:
            turns, axis = int(self.R.randint(4)), int(self.R.randint(1, 3))
            for key in (IMAGE, LABEL):
                moved[key] = torch.as_tensor(moved[key]).rot90(turns, (1, 2)).flip(axis)
        elif self.R.random() < 0.5:
            angle = int(self.R.randint(-self.max_rotation_deg, self.max_rotation_deg + 1))
            for key in (IMAGE, LABEL):
                rotated = ndimage.rotate(np.asarray(moved[key]), angle, axes=(1, 2), reshape=False, order=0)
                moved[key] = torch.from_numpy(rotated)
        return moved


class RandAffineCropd(RandomizableTransform):
    """Crop a patch at a random place with random flip, rotation and scale; the image is mirrored at its border.

    Args:
        size: rows and columns of the patch, in pixels.
        probability: of flipping, of rotating and of scaling, each.
        max_rotation_deg: largest rotation either way, in degrees.
        scale_range: smallest and largest magnification.
        elastic_px: standard deviation of an elastic deformation with the same probability, in pixels of the patch.
    """

    def __init__(
        self,
        size: Sequence[int],
        probability: float,
        max_rotation_deg: float,
        scale_range: Sequence[float],
        elastic_px: float = 0.0,
    ) -> None:
        super().__init__()
        self.elastic_px = elastic_px
        self.size = tuple(size)
        self.probability = probability
        self.max_rotation_deg = max_rotation_deg
        self.scale_range = tuple(scale_range)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with "image" (C, H, W) and "label" (1, H, W) cut to one patch."""
        image, label = torch.as_tensor(data[IMAGE]), torch.as_tensor(data[LABEL])
        grid = self._sampling_grid(image.shape[1], image.shape[2])
        patch = F.grid_sample(image[None].float(), grid, "bilinear", "reflection", align_corners=False)[0]
        mask = F.grid_sample(label[None].float(), grid, "nearest", "reflection", align_corners=False)[0]
        return {**data, IMAGE: patch, LABEL: mask.to(label.dtype)}

    def _sampling_grid(self, height: int, width: int) -> Tensor:
        """Normalised (x, y) positions of the patch's pixels in the image, (1, rows, columns, 2)."""
        rows, columns = self.size
        flip = -1.0 if self._happens() else 1.0
        angle = np.deg2rad(self.R.uniform(-1, 1) * self.max_rotation_deg) if self._happens() else 0.0
        low, high = np.log(self.scale_range)
        scale = np.exp(self.R.uniform(low, high)) if self._happens() else 1.0
        centre_y, centre_x = (  # whole pixels: a patch that is only cropped stays sharp
            side / 2 + (self.R.randint(extent - side + 1) if extent > side else (extent - side) // 2)
            for side, extent in zip(self.size, (height, width), strict=True)
        )
        bend_y, bend_x = self._bend()
        y = ((torch.arange(rows) + 0.5 - rows / 2)[:, None] + bend_y) / scale
        x = flip * ((torch.arange(columns) + 0.5 - columns / 2)[None, :] + bend_x) / scale
        image_y = centre_y + float(np.cos(angle)) * y + float(np.sin(angle)) * x
        image_x = centre_x - float(np.sin(angle)) * y + float(np.cos(angle)) * x
        return torch.stack([2 * image_x / width - 1, 2 * image_y / height - 1], dim=-1)[None].float()

    def _bend(self) -> Tensor:
        """Smooth random displacements of a patch's pixels in y and x, (2, rows, columns)."""
        if not (self.elastic_px and self._happens()):
            return torch.zeros(2, 1, 1)
        knots = [max(2, round(side / _KNOTS_PX) + 1) for side in self.size]
        displacements = torch.from_numpy(self.R.normal(0, self.elastic_px, (1, 2, *knots)))
        return F.interpolate(displacements, self.size, mode="bicubic", align_corners=True)[0]

    def _happens(self) -> bool:
        return bool(self.R.random() < self.probability)


class RandStaind(RandomizableTransform):
    """Vary the densities of haematoxylin, eosin and the residual independently (Tellez et al. 2018).

    By the Beer-Lambert law a pixel's optical density is the sum of stain vectors (Ruifrok and Johnston 2001) times
    the stains' amounts. Each amount a becomes α a + β, with α in 1 ± strength and β in ± strength / 10.

    Args:
        probability: of the change.
        strength: largest relative change of a stain's density.
    """

    def __init__(self, probability: float, strength: float) -> None:
        super().__init__()
        self.probability, self.strength = probability, strength

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with "image" (3, H, W), 0-255, restained."""
        image = torch.as_tensor(data[IMAGE]).float()
        if self.R.random() >= self.probability:
            return {**data, IMAGE: image}
        factors = torch.from_numpy(1 + self.R.uniform(-self.strength, self.strength, 3)).float()
        shifts = torch.from_numpy(self.R.uniform(-self.strength, self.strength, 3) / 10).float()
        to_stains, to_rgb = (torch.from_numpy(matrix).float() for matrix in (hed_from_rgb, rgb_from_hed))
        density = -(image.clamp(1, 255) / 255).log()  # (3, H, W)
        mixing = to_stains @ factors.diag() @ to_rgb  # amounts to amounts, in the space of densities
        changed = torch.einsum("ij,ihw->jhw", mixing, density) + (shifts @ to_rgb)[:, None, None]
        return {**data, IMAGE: (255 * (-changed).exp()).clamp(0, 255)}


class RandColorJitterd(RandomizableTransform):
    """Vary an RGB image's brightness, contrast, saturation and colour balance.

    Args:
        probability: of each of the four changes.
        strength: largest relative change.
    """

    def __init__(self, probability: float, strength: float) -> None:
        super().__init__()
        self.probability, self.strength = probability, strength

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with "image" (3, H, W), 0-255, jittered and clipped to that range."""
        image = torch.as_tensor(data[IMAGE]).float()
        image = image * self._factor()
        mean = image.mean()
        image = mean + (image - mean) * self._factor()
        grey = image.mean(dim=0, keepdim=True)
        image = grey + (image - grey) * self._factor()
        image = image * torch.tensor([self._factor() for _ in range(len(image))])[:, None, None]
        return {**data, IMAGE: image.clamp(0, 255)}

    def _factor(self) -> float:
        change = self.R.uniform(-self.strength, self.strength)
        return float(1 + change) if self.R.random() < self.probability else 1.0


def reseed(transform: Transform | Compose, *key: int) -> None:
    """Seed a transform from integers, such as (seed, epoch, index)."""
    if hasattr(transform, "set_random_state"):
        transform.set_random_state(seed=int(np.random.SeedSequence(key).generate_state(1)[0]))
