"""Small sources in the form of the downloads: raw BTCV, and TransUNet's files of the same patients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from i2net_bundle.data.phantoms import ct_phantom

SHAPE, SPACING_MM = (48, 40, 24), (8.0, 9.6, 10.0)
RAW_ID = {1: 8, 2: 4, 3: 3, 4: 2, 5: 6, 6: 11, 7: 1, 8: 7}
"""This bundle's ids to the challenge's."""


def patient(number: int, without_gallbladder: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """CT in HU and labels in the challenge's 13 ids, axes in RAS order."""
    image, label = ct_phantom(number, SHAPE, SPACING_MM)
    raw = np.zeros_like(label)
    for ours, theirs in RAW_ID.items():
        raw[label == ours] = theirs
    if without_gallbladder:
        raw[raw == 4] = 0
    free = np.argwhere(raw == 0)  # the five organs that the protocol leaves out, a few voxels each
    for offset, theirs in enumerate((5, 9, 10, 12, 13)):
        for voxel in free[len(free) // 2 + 7 * offset :][:6]:
            raw[tuple(voxel)] = theirs
    return image, raw


def stored(array: np.ndarray, orientation: str) -> nib.Nifti1Image:
    """A volume in RAS order as a file would contain it: axes turned, sform code 0, qform code 1."""
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = (-190, -180, -600)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(orientation)
    )
    turned = nib.Nifti1Image(array, affine).as_reoriented(turn)
    return with_header(np.asarray(turned.dataobj), turned.affine)


def with_header(array: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """An array under a header of sform code 0 and qform code 1."""
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, code=1)
    image.set_sform(None, code=0)
    image.header.set_xyzt_units("mm")
    return image


def mirrored(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """The same array under a header whose first axis runs the other way over the same extent."""
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (image.shape[0] - 1)
    affine[:3, 0] *= -1
    return with_header(np.asarray(image.dataobj), affine)


def write_btcv(
    folder: Path,
    numbers: Sequence[int],
    las: Sequence[int] = (),
    without_gallbladder: Sequence[int] = (),
    mirrored_image: Sequence[int] = (),
) -> Path:
    """Raw BTCV: ``img/imgNNNN.nii.gz`` and ``label/labelNNNN.nii.gz``, LPS but for the cases of ``las``."""
    for name in ("img", "label"):
        (folder / name).mkdir(parents=True)
    for number in numbers:
        image, raw = patient(number, number in without_gallbladder)
        pair = [stored(array, "LAS" if number in las else "LPS") for array in (image, raw)]
        if number in mirrored_image:
            pair[0] = mirrored(pair[0])
        for name, part in zip(("img", "label"), pair, strict=True):
            nib.save(part, folder / name / f"{name}{number:04d}.nii.gz")
    return folder


def write_transunet(folder: Path, training: Sequence[int], test: Sequence[int], orientation: str) -> Path:
    """TransUNet's files of the same patients: windowed slices and volumes, axes (slices, rows, columns)."""
    import h5py

    (folder / "train_npz").mkdir(parents=True)
    (folder / "test_vol_h5").mkdir()
    for number in (*training, *test):
        image, label = ct_phantom(number, SHAPE, SPACING_MM)
        volume, ids = (np.asarray(stored(array, orientation).dataobj) for array in (image, label))
        scaled = ((np.clip(volume, -125, 275) + 125) / 400).astype(np.float32)
        if number in test:
            with h5py.File(folder / "test_vol_h5" / f"case{number:04d}.npy.h5", "w") as file:
                file["image"], file["label"] = scaled, ids.astype(np.float32)
            continue
        for index, (image_slice, ids_slice) in enumerate(zip(scaled, ids, strict=True)):
            path = folder / "train_npz" / f"case{number:04d}_slice{index:03d}.npz"
            np.savez(path, image=image_slice, label=ids_slice.astype(np.float32))
    return folder
