"""Generate street phantoms: scenes of a street in perspective, with Cityscapes' folders, file names and label ids.

A street runs towards a vanishing point. What stands on it is painted from far to near, in a texture of its kind. The
colours of different kinds overlap, so that a pixel's colour does not tell its class.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from i2net_bundle.data.phantoms.street_objects import paint_objects
from i2net_bundle.data.phantoms.street_scene import Scene

CITY = "phantom"
"""The city in the names of all scenes, by which `i2net_bundle.prepare.prepare_cityscapes` knows them."""
SMALLEST_SIDE = 64
STREAM = 4
SPLITS = ("train", "val", "test")


def street_phantom(
    index: int, size: tuple[int, int] = (96, 192), seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Generate the image and the label ids of one scene.

    Args:
        index: number of the scene.
        size: rows and columns (H, W).
        seed: seed of the whole set.

    Returns:
        image (H, W, 3), RGB, and label ids (H, W) in Cityscapes' own numbering, with ids that are ignored.

    Raises:
        ValueError: a side is under 64 pixels.
    """
    if min(size) < SMALLEST_SIDE:
        raise ValueError(f"size {size} is too small for streets. Both sides must be at least {SMALLEST_SIDE} pixels.")
    scene = Scene(np.random.default_rng((seed, index, STREAM)), size)
    scene.paint_sky()
    scene.paint_ground()
    scene.paint_sides()
    paint_objects(scene)
    scene.paint_borders()
    return scene.photograph(), scene.label


def make_street_phantoms(
    out_dir: str | PathLike[str],
    num_training: int = 24,
    num_validation: int = 8,
    num_test: int = 2,
    size: tuple[int, int] = (96, 192),
    seed: int = 0,
) -> Path:
    """Write a set of street phantoms as Cityscapes is distributed: ``leftImg8bit`` and ``gtFine``.

    As in the public files, the annotations of test scenes are void.

    Args:
        out_dir: folder of the set.
        num_training: scenes of the split "train".
        num_validation: scenes of the split "val".
        num_test: scenes of the split "test".
        size: rows and columns (H, W).
        seed: seed of the whole set; scenes are numbered across the splits.

    Returns:
        the folder, for ``i2net prepare cityscapes``.

    Raises:
        FileExistsError: the folder holds such a set.
    """
    out_dir = Path(out_dir)
    if (out_dir / "leftImg8bit").exists():
        raise FileExistsError(f"{out_dir} already holds leftImg8bit. Delete the folder, or choose another one.")
    counts = (num_training, num_validation, num_test)
    scenes = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    for index, split in enumerate(tqdm(scenes, desc="Street phantoms", unit="scene", disable=None)):
        image, label = street_phantom(index, size, seed)
        name = f"{CITY}_{index:06d}_000019"
        files = {
            f"leftImg8bit/{split}/{CITY}/{name}_leftImg8bit.png": image,
            f"gtFine/{split}/{CITY}/{name}_gtFine_labelIds.png": np.zeros_like(label) if split == "test" else label,
        }
        for path, pixels in files.items():
            file = out_dir / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    return out_dir
