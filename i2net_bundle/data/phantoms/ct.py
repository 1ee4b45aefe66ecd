"""Generate abdominal CT phantoms from an atlas of ellipsoids, posed, deformed, blurred and noised per case.

The atlas below defines the anatomy. Coordinates are patient coordinates in mm (right, anterior, superior), the RAS+
world of NIfTI: the liver has a larger x than the spleen.
"""

from __future__ import annotations

from math import inf
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage

from i2net_bundle.data.phantoms.folder import write_dataset

Vector = tuple[float, float, float]

ORGANS = ("aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach")
ORIENTATIONS = ("RAS", "LPS", "LAS")

# last part of a case's random key: draws for the header do not affect those for the anatomy
ANATOMY_STREAM, HEADER_STREAM = 1, 2

FIELD_OF_VIEW_MM = np.array([384.0, 384.0, 240.0])
AIR_HU = -1000.0
POINT_SPREAD_MM = 1.5
WARP_NODES, WARP_MM = (6, 6, 4), 5.0
NUM_BOWEL_LOOPS = 40
RIB_PITCH_MM, RIB_SLOPE, RIB_LOWEST_MM = 34.0, 0.45, -50.0


class Tissue(NamedTuple):
    """Mean HU of a tissue, its variation between patients, and the displacement that its parts share."""

    hu: float
    hu_sd: float
    hu_per_phase: float = 0.0  # HU gained per standard deviation of the contrast phase
    wander_mm: float = 0.0


class Part(NamedTuple):
    """Ellipsoid of one tissue; an infinite radius makes a tube; turns are degrees in the axial and coronal planes."""

    tissue: str
    centre_mm: Vector | NDArray[np.float64]
    radii_mm: Vector | NDArray[np.float64]
    axial_turn: float = 0.0
    coronal_turn: float = 0.0


TISSUES = {
    "fat": Tissue(-100, 8),
    "muscle": Tissue(60, 5, 2),
    "bone": Tissue(560, 50),
    "marrow": Tissue(320, 30),
    "spinal canal": Tissue(30, 5),
    "lung": Tissue(-830, 30),
    "heart": Tissue(140, 12, 12, 4),
    "vena cava": Tissue(150, 12, 12, 3),
    "aorta": Tissue(160, 12, 20, 2),
    "gallbladder": Tissue(10, 6, 0, 5),
    "left kidney": Tissue(170, 10, 12, 5),
    "right kidney": Tissue(170, 10, 12, 5),
    "liver": Tissue(110, 8, -6, 5),
    "pancreas": Tissue(100, 8, 6, 4),
    "spleen": Tissue(125, 8, 8, 5),
    "stomach": Tissue(40, 15, 0, 6),
    "stomach gas": Tissue(-850, 50),
}

# painted in this order, later parts over earlier ones: the wall, then the contents of the cavity
WALL = (
    Part("fat", (0, 0, 0), (168, 122, inf)),
    Part("muscle", (0, 0, 0), (152, 104, inf)),
    Part("fat", (0, 6, 0), (134, 88, inf)),
)
CAVITY = Part("fat", (0, 2, 0), (138, 90, inf))
SPINE = (
    Part("muscle", (44, -74, 0), (26, 22, inf)),
    Part("muscle", (-44, -74, 0), (26, 22, inf)),
    Part("bone", (0, -92, 0), (7, 22, inf)),
    Part("bone", (0, -84, 0), (30, 6, inf)),
    Part("bone", (0, -60, 0), (24, 19, inf)),
    Part("marrow", (0, -60, 0), (20, 15, inf)),
    Part("spinal canal", (0, -84, 0), (9, 7, inf)),
)
CONTENTS = (
    Part("lung", (78, -20, 150), (58, 62, 62)),
    Part("lung", (-78, -20, 150), (58, 62, 62)),
    Part("heart", (-22, 32, 146), (62, 44, 48), -20),
    Part("liver", (78, 2, 42), (64, 78, 78), 0, -8),
    Part("liver", (8, 48, 62), (62, 32, 40), 12, 10),
    Part("stomach", (-60, 18, 68), (40, 42, 40), -15, 10),
    Part("stomach", (-34, 44, 24), (46, 24, 26), 20, 25),
    Part("spleen", (-104, -28, 52), (26, 48, 46), -22, 12),
    Part("right kidney", (62, -42, -30), (27, 24, 50), 20, -10),
    Part("left kidney", (-62, -42, -14), (27, 24, 50), -20, 10),
    Part("pancreas", (30, 4, -8), (17, 14, 24)),
    Part("pancreas", (-2, 12, 4), (34, 10, 14), 8, 12),
    Part("pancreas", (-48, 0, 18), (34, 11, 13), -25, 15),
    Part("gallbladder", (52, 46, -22), (15, 20, 26), 0, 10),
    Part("vena cava", (18, -34, 0), (12, 9, inf)),
    Part("aorta", (-11, -29, 0), (11, 11, inf)),
)


def ct_phantom(
    index: int,
    shape: tuple[int, int, int] = (96, 96, 40),
    spacing_mm: Vector = (4.0, 4.0, 6.0),
    seed: int = 0,
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Generate the CT volume and organ labels of one patient, axes (right, anterior, superior).

    The anatomy fills the field of view of any size, and a patient is the same on a grid of any shape; the spacing only
    sets the blur of edges and noise.

    Args:
        index: number of the patient.
        shape: voxels (X, Y, Z).
        spacing_mm: voxel size (x, y, z).
        seed: seed of the whole set.

    Returns:
        image (X, Y, Z) in HU and label (X, Y, Z), 0 background and i + 1 for ``ORGANS[i]``.

    Raises:
        ValueError: the grid is so coarse that an organ has no voxel.
    """
    rng = np.random.default_rng((seed, index, ANATOMY_STREAM))
    hu_of = _patient_hu(rng)
    contents = _patient_parts(rng)
    grid = _patient_grid(rng, shape)

    hu = np.full(shape, AIR_HU, np.float32)
    label = np.zeros(shape, np.uint8)
    for part in WALL:
        hu[_inside(part, grid)] = hu_of[part.tissue]
    hu[_ribs(grid)] = hu_of["bone"]
    for part in SPINE:
        hu[_inside(part, grid)] = hu_of[part.tissue]
    cavity = _inside(CAVITY, grid)
    for bowel_hu, part in _bowel(rng):
        hu[_inside(part, grid) & cavity] = bowel_hu
    for part in contents:
        inside = _inside(part, grid) & cavity
        hu[inside] = hu_of[part.tissue]
        label[inside] = ORGANS.index(part.tissue) + 1 if part.tissue in ORGANS else 0
    missing = [organ for i, organ in enumerate(ORGANS) if not (label == i + 1).any()]
    if missing:
        raise ValueError(f"shape {shape} is too coarse for {', '.join(missing)}. Use more voxels.")
    hu[_gas(rng, label == ORGANS.index("stomach") + 1)] = hu_of["stomach gas"]
    return _scan(rng, hu, spacing_mm), label


def make_ct_phantoms(
    out_dir: str | PathLike[str],
    num_training: int = 6,
    num_validation: int = 2,
    num_test: int = 1,
    shape: tuple[int, int, int] = (96, 96, 40),
    spacing_mm: Vector = (4.0, 4.0, 6.0),
    seed: int = 0,
) -> Path:
    """Write a set of CT phantoms as NIfTI; the header orientation changes from case to case.

    Args:
        out_dir: folder of the set.
        num_training: number of training cases.
        num_validation: number of validation cases, stored among the training files.
        num_test: number of test cases.
        shape: voxels (right, anterior, superior) of every case.
        spacing_mm: voxel size (x, y, z).
        seed: seed of the whole set; case i is the same in a set of any size.

    Returns:
        the path of ``dataset.json``.

    Raises:
        FileExistsError: ``out_dir`` already contains a ``dataset.json``.
    """

    def write_case(split: str, index: int) -> dict[str, str]:
        suffix = "Ts" if split == "test" else "Tr"
        pair = {kind: f"{kind}s{suffix}/case_{index:03d}.nii.gz" for kind in ("image", "label")}
        affine = _ras_affine(index, shape, spacing_mm, seed)
        orientation = ORIENTATIONS[index % len(ORIENTATIONS)]
        image, label = ct_phantom(index, shape, spacing_mm, seed)
        _save_nifti(Path(out_dir) / pair["image"], image, affine, orientation)
        _save_nifti(Path(out_dir) / pair["label"], label, affine, orientation)
        return pair

    header = {
        "name": "CT phantoms",
        "description": f"Synthetic abdominal CT in the portal-venous phase, eight organs, seed {seed}",
        "modality": {"0": "CT"},
        "labels": {str(i): name for i, name in enumerate(("background", *ORGANS))},
    }
    num_cases = {"training": num_training, "validation": num_validation, "test": num_test}
    return write_dataset(out_dir, num_cases, write_case, header)


def _patient_hu(rng: np.random.Generator) -> dict[str, float]:
    """HU of every tissue in one patient and one contrast phase."""
    phase = rng.normal()
    return {name: t.hu + phase * t.hu_per_phase + t.hu_sd * rng.normal() for name, t in TISSUES.items()}


def _patient_parts(rng: np.random.Generator) -> list[Part]:
    """Parts of the abdomen, those of one organ moved, scaled and turned together."""
    shifts = {name: rng.normal(0, tissue.wander_mm, 3) for name, tissue in TISSUES.items()}
    scales = {name: np.exp(rng.normal(0, 0.07, 3)) for name in TISSUES}
    turns = {name: rng.normal(0, 6, 2) for name in TISSUES}
    parts = []
    for part in CONTENTS:
        # a turned tube would leave its place beside the spine
        turn = turns[part.tissue] if np.isfinite(part.radii_mm).all() else np.zeros(2)
        moved = Part(
            part.tissue,
            np.add(part.centre_mm, shifts[part.tissue]),
            np.multiply(part.radii_mm, scales[part.tissue]),
            part.axial_turn + turn[0],
            part.coronal_turn + turn[1],
        )
        parts.append(moved)
    return parts


def _bowel(rng: np.random.Generator) -> list[tuple[float, Part]]:
    """Unlabelled loops with the HU of the organs or of gas, most of them low and anterior."""
    loops = []
    for _ in range(NUM_BOWEL_LOOPS):
        centre = (rng.uniform(-120, 120), rng.uniform(-25, 75), rng.triangular(-125, -90, 60))
        loop = Part("bowel", centre, tuple(rng.uniform(10, 30, 3)), *rng.uniform(-90, 90, 2))
        loops.append((rng.choice([rng.uniform(0, 170), rng.uniform(-900, -500)], p=[0.8, 0.2]), loop))
    return loops


def _patient_grid(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Atlas coordinates (3, X, Y, Z) in mm of every voxel, for a patient tilted, sized and warped at random."""
    axes = [((np.arange(n) + 0.5) / n - 0.5) * fov for n, fov in zip(shape, FIELD_OF_VIEW_MM, strict=True)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    size = np.array([*rng.uniform(0.9, 1.06, 2), rng.uniform(0.94, 1.06)])
    pose = _rotation(*rng.normal(0, (4, 2))) / size[:, None]
    grid = np.tensordot(pose.astype(np.float32), centres, 1)
    for axis in range(3):
        nodes = rng.normal(0, WARP_MM, WARP_NODES).astype(np.float32)
        grid[axis] += ndimage.zoom(nodes, np.divide(shape, WARP_NODES), order=3, mode="nearest", grid_mode=True)
    return grid


def _rotation(axial: float, coronal: float) -> NDArray[np.float64]:
    """Matrix (3, 3) that turns by degrees about the vertical axis and then about the anterior one."""
    a, c = np.deg2rad((axial, coronal))
    about_vertical = np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_anterior = np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
    return about_anterior @ about_vertical


def _inside(part: Part, grid: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Voxels (X, Y, Z) inside an ellipsoid."""
    to_unit_ball = (_rotation(part.axial_turn, part.coronal_turn) / np.array(part.radii_mm)[:, None]).astype(np.float32)
    offset = to_unit_ball @ np.array(part.centre_mm, np.float32)
    local = np.tensordot(to_unit_ball, grid, 1) - offset[:, None, None, None]
    return np.einsum("cxyz,cxyz->xyz", local, local) < 1


def _ribs(grid: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Voxels (X, Y, Z) of the ribs: bands of the muscular wall that sink towards the front."""
    x, y, z = grid
    depth = np.hypot(x / 147, y / 99)
    height = z + RIB_SLOPE * y
    band = np.cos(2 * np.pi * height / RIB_PITCH_MM) > 0.45
    return band & (np.abs(depth - 0.97) < 0.03) & (height > RIB_LOWEST_MM) & (y < 70)


def _gas(rng: np.random.Generator, stomach: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels (X, Y, Z) of the gas that rises to the front of a stomach lying on its back, above a flat level."""
    anterior = np.broadcast_to(np.arange(stomach.shape[1])[:, None], stomach.shape)
    return stomach & (anterior > np.quantile(anterior[stomach], rng.uniform(0.7, 0.95)))


def _scan(rng: np.random.Generator, hu: NDArray[np.float32], spacing_mm: Vector) -> NDArray[np.int16]:
    """Image (X, Y, Z) of a scanner with partial volume and slightly correlated noise."""
    # a voxel averages over its own width, besides the scanner's point spread
    blur = np.hypot(0.4, POINT_SPREAD_MM / np.array(spacing_mm))
    noise = ndimage.gaussian_filter(rng.standard_normal(hu.shape, np.float32), blur)
    noise *= rng.uniform(15, 20) / noise.std()
    return np.clip(np.rint(ndimage.gaussian_filter(hu, blur) + noise), -1024, 3071).astype(np.int16)


def _ras_affine(index: int, shape: tuple[int, int, int], spacing_mm: Vector, seed: int) -> NDArray[np.float64]:
    """Affine (4, 4) of the volume in RAS order, the patient off the isocentre as on a real table."""
    rng = np.random.default_rng((seed, index, HEADER_STREAM))
    isocentre = rng.uniform((-20, -30, -600), (20, 30, 200)).round(2)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = isocentre - affine.diagonal()[:3] * (np.array(shape) - 1) / 2
    return affine


def _save_nifti(
    path: Path, ras: NDArray[np.int16] | NDArray[np.uint8], affine: NDArray[np.float64], orientation: str
) -> None:
    """Save a volume given in RAS order with its voxel axes in another orientation, at the same place in the world."""
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
    image = nib.Nifti1Image(ras, affine).as_reoriented(turn)
    image.set_sform(image.affine, code=1)
    image.set_qform(image.affine, code=1)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
