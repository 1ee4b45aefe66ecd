"""Faults of NIfTI files and their labels."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from i2net_bundle.checks.dataset import check_path
from i2net_bundle.checks.scans import check_volume
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.labels import label_table
from tests.checks.ct_files import (
    AFFINE,
    CLASS_NAMES,
    ORGAN_AFFINE,
    SHAPE,
    hu_volume,
    label_volume,
    organ_labels,
    save,
)
from tests.docs.faults.table import Make, Printed, found

SHIFTED = AFFINE + np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 4.5], [0, 0, 0, 0]])
MIRRORED = AFFINE @ np.diag([1, -1, 1, 1.0])
ORGANS = organ_labels()
Array = Any


def ct(array: Array = None, affine: np.ndarray = AFFINE, qform: Array = None, **how: Any) -> Make:
    """A CT with another array, affine or header field."""
    fields = {name: how.pop(name) for name in list(how) if name not in VolumeOptions.__dataclass_fields__}

    def make(folder: Path) -> Printed:
        path = save(folder / "ct.nii.gz", hu_volume() if array is None else array, affine, qform, **fields)
        return found(check_volume(path, None, VolumeOptions(**how)))

    return make


def label(array: Array = None, affine: np.ndarray = AFFINE, which: int = -1, **options: Any) -> Make:
    """A sound CT with another label."""

    def make(folder: Path) -> Printed:
        labels = label_volume() if array is None else array
        image_affine = ORGAN_AFFINE if labels.shape == ORGANS.shape else AFFINE
        image = save(folder / "ct.nii.gz", hu_volume(labels.shape if labels.ndim == 3 else SHAPE), image_affine)
        if labels.shape == (12, 10, 7):
            image = save(folder / "ct.nii.gz", hu_volume())
        path = save(folder / "label.nii.gz", labels, ORGAN_AFFINE if labels.shape == ORGANS.shape else affine)
        return found(check_volume(image, path, VolumeOptions(**{"classes": CLASS_NAMES, **options})), which)

    return make


def content(name: str, change: Any) -> Make:
    """A file whose bytes are changed; ``change`` takes those of a sound .nii.gz and returns the new ones."""

    def make(folder: Path) -> Printed:
        sound = Path(save(folder / "sound.nii.gz", hu_volume((40, 40, 20)))).read_bytes()
        new = change(sound)
        if new is not None:
            (folder / name).write_bytes(new)
        return found(check_volume(folder / name, None, VolumeOptions()))

    return make


def channels(*affines_and_shapes: tuple[np.ndarray, tuple[int, ...]]) -> Make:
    """A case of two channels with these affines and shapes."""

    def make(folder: Path) -> Printed:
        paths = [
            save(folder / f"p_{number:04d}.nii.gz", hu_volume(shape).astype(np.float32), affine)
            for number, (affine, shape) in enumerate(affines_and_shapes)
        ]
        return found(check_volume(paths, None, VolumeOptions(channels=("T2", "ADC"))))

    return make


def nifti_2(folder: Path) -> Printed:
    nib.save(nib.Nifti2Image(hu_volume(), AFFINE), folder / "ct.nii.gz")
    return found(check_volume(folder / "ct.nii.gz", None, VolumeOptions()))


def pipe(folder: Path) -> Printed:
    os.mkfifo(folder / "ct.nii")
    return found(check_volume(folder / "ct.nii", None, VolumeOptions()))


def another_format(folder: Path) -> Printed:
    nib.save(nib.MGHImage(hu_volume(), AFFINE), folder / "ct.mgz")
    return found(check_volume(folder / "ct.mgz", None, VolumeOptions()))


def pair_of_files(folder: Path) -> Printed:
    nib.save(nib.Nifti1Pair(hu_volume(), AFFINE), folder / "ct.img")
    return found(check_volume(folder / "ct.img", None, VolumeOptions()))


def device(folder: Path) -> Printed:
    (folder / "ct.nii").symlink_to("/dev/zero")
    return found(check_volume(folder / "ct.nii", None, VolumeOptions()))


def bit_flipped(sound: bytes) -> bytes:
    """The last voxel differs from the one that the checksum at the end belongs to."""
    voxels = gzip.decompress(sound)
    return gzip.compress(voxels[:-1] + bytes([voxels[-1] ^ 1]))[:-8] + sound[-8:]


def unpacks_to_gigabytes(folder: Path) -> Printed:
    """The header claims 2.1 GB, which 5 MB can hold."""
    path = save(folder / "ct.nii.gz", hu_volume(), dim1=1024, dim2=1024, dim3=1024)
    Path(path).write_bytes(Path(path).read_bytes() + bytes(5 * 10**6))
    return found(check_volume(path, None, VolumeOptions()))


def empty_labels(folder: Path) -> Printed:
    """A data set of two cases without any label."""
    cases = []
    for name in "ab":
        image = save(folder / f"{name}.nii.gz", hu_volume(seed=ord(name)))
        cases.append({"image": image, "label": save(folder / f"{name}_label.nii.gz", np.zeros(SHAPE, np.uint8))})
    names = {str(number): name for number, name in enumerate(CLASS_NAMES)}
    content = {"modality": {"0": "CT"}, "labels": names, "training": cases}
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return found(check_path(folder).findings)


def bright_corner(value: int) -> np.ndarray:
    voxels = hu_volume().astype(np.int32)
    voxels[:2, :2] = value
    return voxels


def rgb(folder: Path) -> Printed:
    colours = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    return ct(colours)(folder)


def several_volumes_of_channels(folder: Path) -> Printed:
    path = save(folder / "p.nii.gz", np.stack(3 * [hu_volume().astype(np.float32)], axis=-1))
    return found(check_volume(path, None, VolumeOptions(channels=("T2", "ADC"))))


def constant_channel(folder: Path) -> Printed:
    path = save(folder / "adc.nii.gz", np.zeros(SHAPE, np.float32))
    return found(check_volume(path, None, VolumeOptions(channels=("ADC",))))


def mr() -> np.ndarray:
    return np.random.default_rng(0).integers(2, 1501, (24, 20, 16)).astype(np.int16)


def swapped_kidneys() -> np.ndarray:
    labels = ORGANS.copy()
    labels[ORGANS == 3], labels[ORGANS == 4] = 4, 3
    return labels


def btcv8() -> np.ndarray:
    """The organs by the numbers that the numbering btcv8 gives them."""
    ids = {new: old for old, new in label_table("synapse").source_map("btcv8").items()}
    return np.array([ids[index] for index in range(len(CLASS_NAMES))], np.uint8)[ORGANS]


def with_voxels(base: np.ndarray, *values: float) -> np.ndarray:
    """An array with its first voxels replaced."""
    voxels = base.astype(np.float32)
    voxels.reshape(-1)[: len(values)] = values
    return voxels


def scaled(factor: float) -> np.ndarray:
    """The affine in another unit."""
    return AFFINE * np.array([[factor], [factor], [factor], [1]])


SHEARED = AFFINE.copy()
SHEARED[0, 1] = 0.6

FAULTS: dict[str, Make] = {
    "sform ≠ qform": ct(qform=MIRRORED),
    "sform only, in conflict with pixdim: nibabel ≠ SimpleITK": ct(qform_code=0, pixdim1=1.0),
    "file that SimpleITK cannot read (here NIfTI-2)": nifti_2,
    "label shifted": label(affine=SHIFTED),
    "label mirrored in its header": label(affine=MIRRORED),
    "label mirrored in its header, with `geometry: image`": label(affine=MIRRORED, geometry="image"),
    "label of another shape": label(label_volume((12, 10, 7))),
    "sheared affine": ct(affine=SHEARED, qform=AFFINE, qform_code=0),
    "no sform and no qform code": ct(sform_code=0, qform_code=0),
    "zero spacing": ct(pixdim1=0.0),
    "NaN spacing": ct(pixdim1=float("nan")),
    "negative spacing": ct(pixdim1=-2.0),
    "degenerate affine": ct(qform_code=0, srow_z3=0.0),
    "invalid quaternion": ct(sform_code=0, quatern_b=1.5),
    "metres": ct(affine=scaled(0.001), xyzt_units=1),
    "micrometres": ct(affine=scaled(1000), xyzt_units=3),
    "implausible unit": ct(affine=scaled(1000)),
    "scl_slope/inter": ct(((hu_volume() + 1024) * 2).astype(np.int16), scl_slope=0.5, scl_inter=-1024),
    "HU + 1024": ct(np.clip(hu_volume() + 1024, 0, None).astype(np.int16)),
    "0 to 1, −1 to 1, z-scores": ct((np.clip(hu_volume() + 125.0, 0, 400) / 400).astype(np.float32)),
    "0 to 255": ct((np.clip(hu_volume() + 125.0, 0, 400) / 400 * 255).astype(np.uint8)),
    "NaN, Inf": ct(with_voxels(hu_volume(), np.nan, np.nan, np.inf)),
    "NaN, Inf, with `fill_nonfinite: -1024`": ct(
        with_voxels(hu_volume(), np.nan, np.nan, np.inf), fill_nonfinite=-1024
    ),
    "4D": ct(np.stack(3 * [hu_volume()], axis=-1)),
    "4D, with `volume: 3`": ct(np.stack(3 * [hu_volume()], axis=-1), volume=3),
    "2D NIfTI": ct(hu_volume(SHAPE[:2])),
    "RGB": rgb,
    "complex numbers": ct(hu_volume().astype(np.complex64)),
    "truncated .nii.gz": content("ct.nii.gz", lambda sound: sound[: len(sound) // 2]),
    "truncated .nii": content("ct.nii", lambda sound: gzip.decompress(sound)[:32176]),
    "truncated in the header": content("ct.nii", lambda sound: gzip.decompress(sound)[:200]),
    "empty": content("ct.nii.gz", lambda sound: b""),
    "HTML page": content("ct.nii.gz", lambda sound: b"<!DOCTYPE html><p>Log in"),
    "plain .nii named .nii.gz": content("ct.nii.gz", gzip.decompress),
    ".nii.gz named .nii": content("ct.nii", lambda sound: sound),
    "pipe instead of a file": pipe,
    "device instead of a file": device,
    "flipped bit in a .nii.gz": content("ct.nii.gz", bit_flipped),
    "infinite vox_offset": ct(vox_offset=float("inf")),
    "vox_offset in the header": ct(vox_offset=0),
    "infinite scl_slope": ct(scl_slope=float("inf")),
    "infinite affine": ct(qform_code=0, srow_x0=float("inf")),
    "size of 0": ct(dim1=0),
    "header that claims gigabytes": ct(dim1=12000, dim2=10000, dim3=8000),
    "file that unpacks to gigabytes": unpacks_to_gigabytes,
    "all labels empty": empty_labels,
    "missing": content("absent.nii.gz", lambda sound: None),
    "unknown format": another_format,
    "a pair .hdr and .img": pair_of_files,
    "constant image": ct(np.zeros(SHAPE, np.int16)),
    "mask 0/255": label((label_volume() > 4) * np.uint8(255)),
    "fractional labels": label((label_volume() / 2).astype(np.float32)),
    "negative labels": label(label_volume().astype(np.int16) - 1),
    "labels beyond the classes": label(label_volume() + np.uint8(5)),
    "mirrored left to right": label(ORGANS[::-1], which=0),
    "face down": label(ORGANS[:, ::-1], which=0),
    "upside down": label(ORGANS[:, :, ::-1], which=0),
    "kidneys swapped": label(swapped_kidneys(), which=0),
    "aorta of 2 L": label(organ_labels(aorta=(60.0, 50.0, 160.0)), which=0),
    "liver of 5 mL": label(organ_labels(liver=(10.0, 10.0, 12.0)), which=0),
    "labels numbered as btcv8 instead of synapse (the last of several warnings)": label(btcv8()),
    "padding −2000, −3024": ct(np.where(hu_volume() < -900, -3024, hu_volume()).astype(np.int16)),
    "padding of 3072 HU or more at the corners": ct(bright_corner(30000)),
    "negative numbers stored as unsigned": ct(bright_corner(62512)),
    "MR": ct(mr()),
    "crop without air or fat": ct(np.random.default_rng(0).integers(-20, 98, (24, 20, 16)).astype(np.int16)),
    "constant channel other than CT (W if there are other channels)": constant_channel,
    "channels with different grids": channels((AFFINE, SHAPE), (SHIFTED, SHAPE)),
    "channels with different shapes": channels((AFFINE, SHAPE), (AFFINE, (12, 10, 5))),
    "4D file with a wrong number of channels": several_volumes_of_channels,
    "little soft tissue": ct(np.where(hu_volume() > -900, 700, -1000).astype(np.int16)),
}
