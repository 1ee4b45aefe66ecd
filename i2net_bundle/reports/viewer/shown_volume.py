"""A volume and its mask in the size and form that a page can hold."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes

from i2net_bundle.io.channels import is_ct
from i2net_bundle.prediction.surfaces import class_surface
from i2net_bundle.transforms.preprocessing import WINDOW_HU

MOST_VOXELS = 2**23
_DETAILED_VOXELS = 60_000
"""A class of more voxels gets a surface of every second voxel."""
_PERCENTILES = (0.5, 99.5)
_HEADER_BYTES, _NO_EXTENSIONS = 348, bytes(4)


@dataclass(frozen=True)
class ShownVolume:
    """What the page shows of a volume.

    Attributes:
        image: NIfTI, gzip; uint8 with slope and intercept to the image's own values.
        mask: NIfTI, gzip; class indices on the same grid.
        surfaces: by class index: a gzip of the vertices, then the faces, see `packed_surface`.
        surface_frames: by class index, what is needed to unpack its surface.
        unit: unit of the values, "HU" or empty.
        start: position in RAS mm where the slices start: inside the predicted classes, if there are any.
        notes: sentences that say how the shown values differ from the file's.
    """

    image: bytes
    mask: bytes
    unit: str
    start: tuple[float, float, float]
    surfaces: dict[int, bytes] = field(default_factory=dict)
    surface_frames: dict[int, dict[str, object]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def show_volume(
    values: np.ndarray, mask: np.ndarray, affine: np.ndarray, channels: Sequence[str], most_voxels: int = MOST_VOXELS
) -> ShownVolume:
    """Reduce a volume to 8 bits and to ``most_voxels`` voxels, and compute the surfaces of its classes.

    Args:
        values: stored values of the first channel, HU for CT, (X, Y, Z).
        mask: class indices, uint8, (X, Y, Z).
        affine: voxel to RAS mm, (4, 4).
        channels: names of the channels.
        most_voxels: largest number of voxels of the result.
    """
    ct = is_ct(channels[0])
    low, high = WINDOW_HU if ct else map(float, np.percentile(values, _PERCENTILES))
    scale = max(high - low, 1e-6) / 255
    levels = np.rint(np.clip((values.astype(np.float32) - low) / scale, 0, 255)).astype(np.uint8)
    factors = block_factors(mask.shape, voxel_sizes(affine), most_voxels)
    notes = [f"The image is shown in 256 levels from {low:g} to {high:g}{' HU' if ct else ''}."]
    if len(channels) > 1:
        notes.append(f"The channels are {', '.join(channels)}; only the first is shown.")
    if max(factors) > 1:
        blocks = " × ".join(map(str, factors))
        notes.append(f"Each voxel shown is the mean of {blocks} voxels of the file, with their most frequent class.")
        levels, mask = np.rint(block_means(levels, factors)).astype(np.uint8), block_modes(mask, factors)
        affine = block_affine(affine, factors)
    surfaces, frames = {}, {}
    for index in map(int, np.unique(mask[mask > 0])):
        step = 1 if np.count_nonzero(mask == index) <= _DETAILED_VOXELS else 2
        surface = class_surface(mask, affine, index, step)
        if surface is not None and len(surface.faces):
            frames[index], surfaces[index] = packed_surface(surface.vertices, surface.faces)
    return ShownVolume(
        _nifti(levels, affine, scale, low),
        _nifti(mask, affine, intent="label"),
        "HU" if ct else "",
        _start(mask, affine),
        surfaces,
        frames,
        tuple(notes),
    )


def block_factors(shape: Sequence[int], spacing_mm: Sequence[float], most_voxels: int) -> tuple[int, int, int]:
    """Whole factors by which to shrink the axes until a volume has at most ``most_voxels`` voxels, finest axis first.

    >>> block_factors((512, 512, 60), (0.7, 0.7, 3.0), 2**23)
    (2, 1, 1)
    """
    factors = [1, 1, 1]
    while np.prod([-(-size // factor) for size, factor in zip(shape, factors, strict=True)]) > most_voxels:
        sizes = [
            side * factor if factor < size else np.inf
            for side, factor, size in zip(spacing_mm, factors, shape, strict=True)
        ]
        factors[int(np.argmin(sizes))] += 1
    return factors[0], factors[1], factors[2]


def block_means(values: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Mean of each block of voxels; edge voxels are repeated to fill the last blocks.

    >>> block_means(np.array([[[0, 2, 4]]]), (1, 1, 2)).tolist()
    [[[1.0, 4.0]]]
    """
    parts = [part.astype(np.float32) for part in _parts(values, factors)]
    mean: np.ndarray = sum(parts[1:], start=parts[0]) / len(parts)
    return mean


def block_modes(mask: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Most frequent class of each block; of equally frequent ones, the highest.

    >>> block_modes(np.array([[[0, 1, 2, 2, 2, 0]]], np.uint8), (1, 1, 3)).tolist()
    [[[2, 2]]]
    """
    parts = _parts(mask, factors)
    best = np.zeros(parts[0].shape, np.uint16)
    modes = np.zeros(parts[0].shape, np.uint8)
    for index in np.unique(mask):
        count = np.zeros_like(best)
        for part in parts:
            count += part == index
        more = count >= np.maximum(best, 1)
        best[more], modes[more] = count[more], index
    return modes


def block_affine(affine: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Affine of the blocks (4, 4): the centre of the first block is the mean of its voxels' centres."""
    blocks = np.diag([*map(float, factors), 1.0])
    blocks[:3, 3] = (np.array(factors) - 1) / 2
    return affine @ blocks


def packed_surface(vertices: np.ndarray, faces: np.ndarray) -> tuple[dict[str, object], bytes]:
    """Pack a surface: vertices as 16-bit steps of its bounding box, then faces, both as differences.

    Args:
        vertices: (V, 3), mm.
        faces: (F, 3).

    Returns:
        ``{"vertices": V, "faces": F, "origin": 3 mm, "step": mm}``, and a gzip of uint16 (V, 3) and int32 (F, 3), each
        row-major and as the difference from the number before; the uint16 wrap.
    """
    origin = vertices.min(axis=0)
    step = max(float((vertices.max(axis=0) - origin).max()) / 65535, 1e-6)
    places = np.rint((vertices - origin) / step).astype(np.uint16)
    content = np.diff(places.T.ravel(), prepend=np.uint16(0)).astype("<u2").tobytes()
    content += np.diff(faces.ravel(), prepend=0).astype("<i4").tobytes()
    frame = {"vertices": len(vertices), "faces": len(faces), "origin": origin.tolist(), "step": step}
    return frame, gzip.compress(content, 6, mtime=0)


def _start(mask: np.ndarray, affine: np.ndarray) -> tuple[float, float, float]:
    """Where three slices show many classes: the voxel of a class nearest to the planes with the most classes.

    An empty mask gives the middle of the volume.
    """
    present = np.unique(mask[mask > 0])
    place = []
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        classes = sum((mask == index).any(axis=others).astype(int) for index in present)
        richest = np.flatnonzero(classes == np.max(classes)) if len(present) else np.arange(mask.shape[axis])
        place.append(int(richest[len(richest) // 2]))
    if len(present):
        voxels = np.argwhere(mask)
        place = voxels[np.abs(voxels - place).sum(axis=1).argmin()].tolist()
    x, y, z = (affine[:3, :3] @ place + affine[:3, 3]).tolist()
    return x, y, z


def _parts(values: np.ndarray, factors: Sequence[int]) -> list[np.ndarray]:
    """The voxels at each place of the blocks, as views of a padded copy."""
    missing = [(0, -size % factor) for size, factor in zip(values.shape, factors, strict=True)]
    padded = np.pad(values, missing, mode="edge")
    return [
        padded[tuple(slice(start, None, factor) for start, factor in zip(place, factors, strict=True))]
        for place in np.ndindex(*factors)
    ]


def _nifti(
    values: np.ndarray, affine: np.ndarray, slope: float = 1, intercept: float = 0, intent: str = "none"
) -> bytes:
    """A NIfTI file of uint8 with nothing in its header but the geometry and the scale."""
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    image.header.set_intent(intent)  # NiiVue outlines labels only
    image.header.set_slope_inter(slope, intercept)
    image.header.set_data_offset(_HEADER_BYTES + len(_NO_EXTENSIONS))
    return gzip.compress(image.header.binaryblock + _NO_EXTENSIONS + values.tobytes(order="F"), 6, mtime=0)
