"""Faults of NRRD and MetaImage files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813, its usual name

from i2net_bundle.checks.scans import check_volume
from i2net_bundle.io.options import VolumeOptions
from tests.checks.ct_files import hu_volume, save
from tests.docs.faults.table import Make, Printed, found
from tests.io.itk_files import FAULTS as HEADERS
from tests.io.itk_files import header_file


def header(suffix: str, *replacements: tuple[str, str]) -> Make:
    """A sound CT whose header is changed."""

    def make(folder: Path) -> Printed:
        return found(check_volume(header_file(folder, suffix, *replacements), None, VolumeOptions()))

    return make


def known_header(name: str) -> Make:
    """A header of the tests of the reader."""
    suffix, replacements, _, _ = HEADERS[name]
    return header(suffix, *replacements)


def content(name: str, text: bytes | None) -> Make:
    """A file with this content, or none."""

    def make(folder: Path) -> Printed:
        if text is not None:
            (folder / name).write_bytes(text)
        return found(check_volume(folder / name, None, VolumeOptions()))

    return make


def without_voxels(folder: Path) -> Printed:
    path = header_file(folder, ".mhd")
    path.with_suffix(".raw").unlink(missing_ok=True)
    path.with_suffix(".zraw").unlink(missing_ok=True)
    return found(check_volume(path, None, VolumeOptions()))


def pipe_of_voxels(folder: Path) -> Printed:
    path = header_file(folder, ".mhd", (r"^ElementDataFile.*", "ElementDataFile = pipe"))
    os.mkfifo(folder / "pipe")
    return found(check_volume(path, None, VolumeOptions()))


def bit_flipped(folder: Path) -> Printed:
    """A compressed file whose voxels do not match the checksum at its end."""
    path = folder / "ct.mha"
    sitk.WriteImage(sitk.ReadImage(save(folder / "ct.nii.gz", hu_volume())), str(path), useCompression=True)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return found(check_volume(path, None, VolumeOptions()))


def several_volumes(folder: Path) -> Printed:
    image = sitk.GetImageFromArray(np.stack(2 * [hu_volume().T], axis=-1), isVector=True)
    image.CopyInformation(sitk.ReadImage(save(folder / "ct.nii.gz", hu_volume())))
    sitk.WriteImage(image, str(folder / "ct.nrrd"))
    return found(check_volume(folder / "ct.nrrd", None, VolumeOptions()))


FAULTS: dict[str, Make] = {
    "absent": content("ct.nrrd", None),
    "empty": content("ct.nrrd", b""),
    "HTML page": content("ct.mha", b"<!DOCTYPE html><p>Log in"),
    "damaged header": content("ct.nrrd", b"NRRD0004\nencoding: nothing\n\n"),
    "truncated, or without its voxel file": without_voxels,
    "flipped bit in compressed voxels": bit_flipped,
    "voxel file that is a pipe or device": pipe_of_voxels,
    "impossible size": header(".mhd", (r"^NDims.*", "NDims = 99")),
    "size that the file cannot hold": header(".nhdr", (r"^sizes:.*", "sizes: 12000 10000 8000")),
    "encoding that is not read": header(".nhdr", (r"^encoding:.*", "encoding: bzip2")),
    "NRRD axis without a direction": known_header("an axis without a direction"),
    "no spacing": known_header("no spacing in MetaImage"),
    "spacing that is 0, negative or NaN": known_header("negative spacing"),
    "another unit": known_header("another unit"),
    "MetaImage without orientation": known_header("no orientation in MetaImage"),
    "NRRD without an anatomical space": known_header("a space that is not the patient's"),
    "degenerate directions": known_header("degenerate directions in NRRD"),
    "sheared": header(".nhdr", (r"(?<=directions: ).*", "(2,0,0) (0.6,2,0) (0,0,3)")),
    "several volumes": several_volumes,
}
