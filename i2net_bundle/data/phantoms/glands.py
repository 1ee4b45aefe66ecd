"""Generate gland phantoms: H&E-like images of glands in stroma, with instance annotations named as in GlaS.

A layout of closed curves becomes a map of each dye; the Beer-Lambert law turns the two dyes into colours.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage import draw

from i2net_bundle.data.phantoms.folder import write_dataset

PIXEL_SIZE_UM = 0.62005
SMALLEST_SIDE = 64

# testA_1 does not depend on the number of training images
FIRST_TEST_INDEX = 1_000_000
STREAM = 3

HAEMATOXYLIN_RGB = np.array([0.95, 1.25, 0.55])
EOSIN_RGB = np.array([0.15, 0.80, 0.35])


class Structure(NamedTuple):
    """Closed curves of one kind: target share of the area, radius, relative wobble of the radius, gap to neighbours.

    A negative gap lets a curve reach into its neighbours by as much; it is then cut where it meets them.
    """

    crowding: float
    radius_px: tuple[float, float]
    wobble: float
    gap_px: tuple[float, float]


GLAND = Structure(0.75, (17, 62), 0.10, (3, 12))
HOLE = Structure(0.31, (8, 42), 0.08, (3, 10))
TOUCHING_GLAND = GLAND._replace(gap_px=(-7, -3))
AGGREGATE = Structure(0.05, (8, 22), 0.10, (3, 10))


# rows: haematoxylin, eosin, nuclei per pixel
STROMA, APICAL_RIM, BASAL_RIM, PALE, CROWD = range(5)
STAINS = np.array(
    [
        (0.10, 0.62, 0.006),
        (0.26, 0.50, 0.004),
        (0.32, 0.50, 0.034),
        (0.03, 0.06, 0.0003),
        (0.22, 0.50, 0.030),
    ]
)


def gland_phantom(
    index: int, size: tuple[int, int] = (256, 320), seed: int = 0, touching: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Generate the H&E-like image and the gland instances of one tissue section.

    Args:
        index: number of the section.
        size: rows and columns (H, W).
        seed: seed of the whole set.
        touching: let glands press against each other where they can; otherwise stroma lies between them.

    Returns:
        image (H, W, 3), RGB, and instances (H, W), 0 background and 1…n the glands.

    Raises:
        ValueError: a side is under 64 pixels.
    """
    if min(size) < SMALLEST_SIDE:
        raise ValueError(f"size {size} is too small for glands. Both sides must be at least {SMALLEST_SIDE} pixels.")
    rng = np.random.default_rng((seed, index, STREAM))
    glands = _scatter(rng, TOUCHING_GLAND if touching else GLAND, np.zeros(size, bool))
    holes = _scatter(rng, HOLE, glands > 0) > 0
    aggregates = _scatter(rng, AGGREGATE, (glands > 0) | holes) > 0
    haematoxylin, eosin = _dyes(rng, glands, holes, aggregates)
    return _photograph(rng, haematoxylin, eosin), glands


def make_gland_phantoms(
    out_dir: str | PathLike[str],
    num_training: int = 12,
    num_validation: int = 4,
    num_test: int = 2,
    size: tuple[int, int] = (256, 320),
    seed: int = 0,
    touching: bool = False,
) -> Path:
    """Write a set of gland phantoms as PNG images and 8-bit instance annotations.

    Args:
        out_dir: folder of the set.
        num_training: training images, train_1, train_2, …
        num_validation: validation images, numbered on as train_…
        num_test: test images, testA_1, testA_2, …
        size: rows and columns (H, W).
        seed: seed of the whole set; an image of the same name is the same in a set of any size.
        touching: let glands press against each other where they can.

    Returns:
        the path of ``dataset.json``.

    Raises:
        FileExistsError: ``out_dir`` already contains a ``dataset.json``.
    """
    first_test = num_training + num_validation

    def write_case(split: str, index: int) -> dict[str, str]:
        number = index - first_test if split == "test" else index
        name = f"{'testA' if split == 'test' else 'train'}_{number + 1}"
        pair = {"image": f"images/{name}.png", "label": f"annotations/{name}_anno.png"}
        phantom = gland_phantom(number + FIRST_TEST_INDEX * (split == "test"), size, seed, touching)
        for path, pixels in zip(pair.values(), phantom, strict=True):
            file = Path(out_dir) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
        return pair

    header = {
        "name": "Gland phantoms",
        "description": f"Synthetic H&E-like images of glands with instance annotations, seed {seed}",
        "modality": {"0": "R", "1": "G", "2": "B"},
        "labels": {"0": "background", "1": "gland"},
        "label_values": "instances",
        "pixel_size_um": PIXEL_SIZE_UM,
    }
    num_cases = {"training": num_training, "validation": num_validation, "test": num_test}
    return write_dataset(out_dir, num_cases, write_case, header)


def _scatter(rng: np.random.Generator, structure: Structure, taken: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Place instances (H, W) of one structure, numbered from 1, clear of occupied pixels and of each other."""
    size = taken.shape
    instances = np.zeros(size, np.uint8)
    smallest, largest = np.minimum(structure.radius_px, min(size) / 4)
    # the first curve always fits, so every image has a gland; 8 bits hold 255
    count = structure.crowding * taken.size / (np.pi * ((smallest + largest) / 2) ** 2)
    # large ones first, so that small ones fill the gaps
    for radius in np.sort(rng.uniform(smallest, largest, int(np.clip(count, 1, 255))))[::-1]:
        found, most_contact = None, -1
        for _ in range(30):
            centre = rng.uniform((0, 0), size)
            angles, radii = _wobbly_curve(rng, radius, structure.wobble)
            surroundings = _fill(centre, angles, radii + rng.uniform(*structure.gap_px), size)
            occupied = taken | (instances > 0)
            if (surroundings & occupied).any():
                continue
            inside = _fill(centre, angles, radii, size)
            contact = int((inside & occupied).sum())
            if contact > most_contact:
                found, most_contact = inside & ~occupied, contact
            if structure.gap_px[0] >= 0:  # without contact, the first place is as good as any
                break
        if found is not None:
            instances[found] = instances.max() + 1
    return instances


def _wobbly_curve(rng: np.random.Generator, radius: float, wobble: float) -> tuple[NDArray, NDArray]:
    """Return angles (N,) and radii (N,) in pixels of a closed curve, an ellipse with dents and bulges."""
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    waves = np.arange(2, 7)
    dents = np.cos(angles[:, None] * waves + rng.uniform(0, 2 * np.pi, len(waves)))
    stretch = np.exp(rng.uniform(0, 0.35) * np.cos(2 * (angles - rng.uniform(0, np.pi))))
    return angles, radius * stretch * np.exp(dents @ rng.normal(0, wobble * 2 / waves))


def _fill(centre: NDArray, angles: NDArray, radii: NDArray, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels (H, W) inside a closed curve, clipped to the image."""
    points = np.stack([centre[1] + radii * np.cos(angles), centre[0] + radii * np.sin(angles)], axis=-1)
    canvas = Image.new("L", size[::-1])
    ImageDraw.Draw(canvas).polygon(points.ravel().tolist(), fill=1)
    return np.asarray(canvas) > 0


def _dyes(
    rng: np.random.Generator, glands: NDArray[np.uint8], holes: NDArray[np.bool_], aggregates: NDArray[np.bool_]
) -> tuple[NDArray, NDArray]:
    """Return the amounts of haematoxylin and eosin, each (H, W)."""
    apart = np.where(_touches_other(glands), 0, glands)
    depth = ndimage.distance_transform_edt(apart) - ndimage.distance_transform_edt(glands == 0)
    thickness = _rim_thickness(rng, glands, depth) + 1.5 * _smooth_noise(rng, glands.shape, 4)
    lumen = (glands > 0) & (depth > thickness)
    rim = (glands > 0) & ~lumen
    basal = rim & (np.abs(depth - 0.45 * thickness) < 0.3 * thickness)
    tissue = np.select([lumen | holes, basal, rim, aggregates], [PALE, BASAL_RIM, APICAL_RIM, CROWD], STROMA)
    haematoxylin, eosin, nuclei = np.moveaxis(STAINS[tissue], -1, 0)
    fibres = np.cos(depth / 2 + 4 * _smooth_noise(rng, glands.shape, 12))
    eosin = eosin * (1 + 0.18 * _smooth_noise(rng, glands.shape, 6) + 0.12 * fibres)
    _paint_nuclei(rng, haematoxylin, nuclei, depth)
    return haematoxylin, eosin


def _touches_other(glands: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels (H, W) of glands whose right or lower neighbour belongs to another gland."""
    touches = np.zeros(glands.shape, bool)
    for own, next_one in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        touches[own] |= (glands[own] != glands[next_one]) & (glands[own] > 0) & (glands[next_one] > 0)
    return touches


def _rim_thickness(rng: np.random.Generator, glands: NDArray[np.uint8], depth: NDArray) -> NDArray:
    """Return the epithelial thickness (H, W) in pixels of each pixel's gland, thinner in small glands."""
    ids = np.arange(glands.max() + 1)
    thickness = np.minimum(rng.uniform(9, 22, len(ids)), 0.7 * ndimage.maximum(depth, glands, ids))
    return thickness[glands]


def _paint_nuclei(rng: np.random.Generator, haematoxylin: NDArray, density: NDArray, depth: NDArray) -> None:
    """Add nuclei to the haematoxylin, perpendicular to the basal membrane and parallel to stromal fibres."""
    down, right = np.gradient(ndimage.gaussian_filter(depth, 2))
    turn = np.arctan2(-down, right) + (depth < 0) * np.pi / 2 + rng.normal(0, 0.35, depth.shape)
    for row, col in np.argwhere(rng.random(depth.shape) < density):
        breadth, length = rng.uniform(1.8, 3.0), rng.uniform(3.2, 5.8)
        pixels = draw.ellipse(row, col, breadth, length, depth.shape, rotation=turn[row, col])
        haematoxylin[pixels] = np.maximum(haematoxylin[pixels], rng.uniform(0.65, 1.15))


def _smooth_noise(rng: np.random.Generator, size: tuple[int, int], grain_px: float) -> NDArray:
    """Return Gaussian noise (H, W) with mean 0 and standard deviation 1, correlated over a few pixels."""
    noise = ndimage.gaussian_filter(rng.standard_normal(size), grain_px, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def _photograph(rng: np.random.Generator, haematoxylin: NDArray, eosin: NDArray) -> NDArray[np.uint8]:
    """Render the image (H, W, 3) of a section with one laboratory's dyes, light and camera."""
    absorbance: NDArray = np.zeros((*eosin.shape, 3))
    blur = rng.uniform(0.6, 1.1)
    for dye, colour in ((haematoxylin, HAEMATOXYLIN_RGB), (eosin, EOSIN_RGB)):
        tint = colour * np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.10, 3))
        absorbance += ndimage.gaussian_filter(dye, blur)[..., None] * tint
    light = 250 * rng.uniform(0.9, 1.0) * rng.uniform(0.96, 1.0, 3)
    grain = ndimage.gaussian_filter(rng.normal(0, rng.uniform(6, 10), absorbance.shape), (0.5, 0.5, 0))
    return np.clip(np.rint(light * np.exp(-absorbance) + grain), 0, 255).astype(np.uint8)
