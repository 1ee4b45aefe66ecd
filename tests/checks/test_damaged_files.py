"""A check of many files continues past a damaged one, whose finding names the file."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from i2net_bundle.checks.dataset import check_path
from i2net_bundle.io.findings import errors
from i2net_bundle.io.tiff import TiledTiff, is_tiled_tiff
from tests.checks.ct_files import hu_volume, save

RGB = np.random.default_rng(0).integers(90, 250, (32, 48, 3), dtype=np.uint8)
OFFSET, DIMENSIONS, SFORM, MAGIC = 108, 40, 280, 344


def nifti(position: int, form: str, *values: float) -> Callable[[Path], Path]:
    """A NIfTI file with values at a position of its header."""

    def write(folder: Path) -> Path:
        path = Path(save(folder / "b.nii", hu_volume()))
        content = bytearray(path.read_bytes())
        struct.pack_into(form, content, position, *values)
        path.write_bytes(content)
        return path

    return write


def png(colour: int, palette: bytes = b"", rows: bytes = bytes(8 * 9)) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        def chunk(name: bytes, content: bytes) -> bytes:
            return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, colour, 0, 0, 0))
        chunks = header + palette + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        (folder / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
        return folder / "b.png"

    return write


def tiled(folder: Path, **how: object) -> Path:
    tifffile.imwrite(folder / "b.tif", RGB, photometric="rgb", tile=(16, 16), metadata=None, **how)
    return folder / "b.tif"


def damaged_tiles(folder: Path) -> Path:
    path = tiled(folder, compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages.first.dataoffsets[1]
    content = bytearray(path.read_bytes())
    content[start : start + 100] = b"\xff" * 100
    path.write_bytes(content)
    return path


def tile_tag(name: str, value: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = tiled(folder)
        with tifffile.TiffFile(path, mode="r+b") as tiff:
            tiff.pages.first.tags[name].overwrite(value)
        return path

    return write


def deep_json(folder: Path) -> Path:
    (folder / "b").mkdir()
    (folder / "b" / "dataset.json").write_text("[" * 100_000)
    return folder / "b" / "dataset.json"


DAMAGED = {
    "infinite offset of the voxels": nifti(OFFSET, "<f", np.inf),
    "NaN as offset of the voxels": nifti(OFFSET, "<f", np.nan),
    "negative offset of the voxels": nifti(OFFSET, "<f", -1e9),
    "offset beyond the file": nifti(OFFSET, "<f", 1e18),
    "infinite affine": nifti(SFORM, "<12f", *[np.inf] * 12),
    "NaN affine": nifti(SFORM, "<12f", *[np.nan] * 12),
    "dimension of 0": nifti(DIMENSIONS, "<4h", 3, 0, 5, 5),
    "negative dimension": nifti(DIMENSIONS, "<4h", 3, -4, 5, 5),
    "no dimensions": nifti(DIMENSIONS, "<h", 0),
    "99 dimensions": nifti(DIMENSIONS, "<h", 99),
    "dimensions that the file cannot hold": nifti(DIMENSIONS, "<4h", 3, 32767, 32767, 32767),
    "unknown data type": nifti(70, "<h", 9999),
    "no magic": nifti(MAGIC, "<4s", b"xxxx"),
    "palette without a palette": png(3),
    "unknown kind of colour": png(9),
    "too few rows": png(2),
    "damaged tiles": damaged_tiles,
    "tiles without width": tile_tag("TileWidth", 0),
    "image without width": tile_tag("ImageWidth", 0),
    "tiles larger than any memory": tile_tag("TileWidth", 2**31),
}


@pytest.mark.parametrize("write", DAMAGED.values(), ids=DAMAGED)
def test_one_damaged_file_is_one_error_and_the_others_are_checked(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = write(tmp_path)
    volume = path.suffix == ".nii"
    for name in ("a", "c"):
        if volume:
            save(tmp_path / f"{name}.nii.gz", hu_volume())
        else:
            Image.fromarray(RGB).save(tmp_path / f"{name}.png")
    report = check_path(tmp_path)
    assert report.cases == {"files": 3}
    (found,) = errors(report.findings)
    assert found.file == str(path)
    assert "\n" not in str(found) and len(str(found)) < 1000
    if path.suffix == ".tif" and is_tiled_tiff(path):
        with pytest.raises(ValueError, match=r"b\.tif: "), TiledTiff(path) as tiff:
            tiff.read(slice(0, 32), slice(0, 48))


def test_deep_json_is_an_error_of_its_data_list(tmp_path: Path) -> None:
    path = deep_json(tmp_path)
    (found,) = check_path(path.parent).findings
    assert found.file == str(path) and found.problem.startswith("is not valid JSON (")


def test_a_data_list_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", hu_volume())
    (tmp_path / "dataset.json").write_text(json.dumps({"test": ["a.nii.gz"]}), encoding="utf-8-sig")
    assert check_path(tmp_path).findings == []


def test_a_path_in_a_data_list_with_a_nul_character_is_an_error_of_that_case(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", hu_volume())
    (tmp_path / "dataset.json").write_text(json.dumps({"test": ["b\0.nii.gz", "a.nii.gz"]}))
    (found,) = check_path(tmp_path).findings
    assert found.file.endswith(r"b\x00.nii.gz") and "NUL" in found.problem


def test_a_compressed_volume_that_its_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", hu_volume())
    header = nib.load(tmp_path / "a.nii").header.copy()
    header.set_data_shape((4000, 4000, 4000))
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4)))
    (found,) = check_path(path).findings
    assert found.rule == "claimed-size" and "its header claims" in found.problem
