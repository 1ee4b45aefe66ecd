"""Small CT and label files, valid and damaged, shared by the tests of this folder."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np

from i2net_bundle.labels import class_names

AFFINE = np.array([[-2.0, 0, 0, 30], [0, -2, 0, 20], [0, 0, 3, -60], [0, 0, 0, 1]])  # LPS, 2 x 2 x 3 mm
LAS = AFFINE @ np.diag([1, -1, 1, 1.0]) + [[0] * 4, [0, 0, 0, -18], [0] * 4, [0] * 4]  # the same box, rows reversed
SHAPE = (12, 10, 8)
FIELDS = {  # offset and type in the header of NIfTI-1
    "dim1": (42, "h"),
    "dim2": (44, "h"),
    "dim3": (46, "h"),
    "pixdim1": (80, "f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "B"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern_b": (256, "f"),
    "srow_x0": (280, "f"),
    "srow_z3": (320, "f"),
}

# the anatomy in RAS mm about the middle of the grid: centre and radii of ellipsoids, painted in this order
ORGANS = {
    "liver": ((78, 2, 42), (64, 78, 60)),
    "stomach": ((-50, 30, 50), (40, 42, 40)),
    "spleen": ((-104, -28, 52), (26, 48, 46)),
    "right kidney": ((62, -42, -30), (27, 24, 50)),
    "left kidney": ((-62, -42, -14), (27, 24, 50)),
    "pancreas": ((0, 10, 0), (45, 12, 16)),
    "gallbladder": ((52, 46, -22), (15, 20, 26)),
    "aorta": ((-10, -30, 0), (11, 11, 80)),
}
CLASS_NAMES = tuple(class_names("synapse"))
ORGAN_AFFINE = np.array([[5.0, 0, 0, -160], [0, 5, 0, -125], [0, 0, 6, -120], [0, 0, 0, 1]])  # RAS
ORGAN_SHAPE = (65, 51, 41)


def hu_volume(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Air, fat and soft tissue in layers along the first axis, with a scanner's noise; int16."""
    tissue = np.full(shape, 40.0)
    tissue[: shape[0] // 2] = -90
    tissue[: shape[0] // 4] = -1000
    return np.rint(tissue + np.random.default_rng(seed).normal(0, 12, shape)).astype(np.int16)


def label_volume(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Labels 0 to 8 in turn; uint8."""
    return (np.arange(np.prod(shape)) % 9).reshape(shape).astype(np.uint8)


def organ_labels(**radii: tuple[float, float, float]) -> np.ndarray:
    """Label map of the eight organs on the grid of `ORGAN_AFFINE`; ``radii`` replaces an organ's own."""
    index = np.indices(ORGAN_SHAPE, np.float32)
    x, y, z = (
        np.float32(step) * axis + np.float32(start)
        for step, axis, start in zip(ORGAN_AFFINE.diagonal(), index, ORGAN_AFFINE[:3, 3], strict=False)
    )
    labels = np.zeros(ORGAN_SHAPE, np.uint8)
    for name, ((cx, cy, cz), own) in ORGANS.items():
        rx, ry, rz = radii.get(name, own)
        labels[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 < 1] = CLASS_NAMES.index(name)
    return labels


def save(
    path: Path, array: np.ndarray, affine: np.ndarray = AFFINE, qform: np.ndarray | None = None, **fields: float
) -> str:
    """Write a NIfTI file with both orientations set and return its path; ``fields`` are patched in the raw header."""
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine if qform is None else qform, 1)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    if fields:
        patch(path, fields)
    return str(path)


def patch(path: Path, fields: Mapping[str, float]) -> None:
    """Write header fields unchanged, including values that nibabel would refuse or correct."""
    packed = path.name.endswith(".gz")
    content = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    for name, value in fields.items():
        offset, kind = FIELDS[name]
        struct.pack_into(f"<{kind}", content, offset, value)
    path.write_bytes(gzip.compress(content) if packed else content)
