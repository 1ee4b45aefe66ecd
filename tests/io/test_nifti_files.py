"""A file that is damaged, or no NIfTI, is refused with the fault and the remedy."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from i2net_bundle.io.nifti import read_nifti
from i2net_bundle.io.options import VolumeOptions
from tests.checks.ct_files import AFFINE, hu_volume, save
from tests.io.refusals import refusal

AGAIN = "Download or copy the file again."


def whole_file(folder: Path, suffix: str) -> bytes:
    """Content of a sound file that contains more than one block of compressed data."""
    path = folder / f"whole{suffix}"
    save(path, hu_volume((40, 40, 20)))
    return path.read_bytes()


@pytest.mark.parametrize(
    ("suffix", "share", "cause"),
    [
        (".nii.gz", 0.5, "Compressed file ended before the end-of-stream marker was reached"),
        (".nii", 0.5, "Expected 64000 bytes, got 31824 bytes from"),
        (".nii", 0.999, "Expected 64000 bytes, got 6"),
    ],
    ids=["compressed", "plain", "plain, last bytes"],
)
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float, cause: str) -> None:
    content, path = whole_file(tmp_path, suffix), tmp_path / f"ct{suffix}"
    path.write_bytes(content[: int(len(content) * share)])
    found = refusal(read_nifti, path)
    assert found.problem.startswith(f"is truncated or damaged: its voxels cannot be read ({cause}")
    assert found.remedy == AGAIN


def test_a_damaged_compressed_file_is_refused(tmp_path: Path) -> None:
    content, path = bytearray(whole_file(tmp_path, ".nii.gz")), tmp_path / "ct.nii.gz"
    middle = len(content) // 2
    content[middle : middle + 200] = b"\x55" * 200
    path.write_bytes(content)
    found = refusal(read_nifti, path)
    assert found.problem.startswith("is truncated or damaged: its voxels cannot be read (")
    assert found.remedy == AGAIN


@pytest.mark.parametrize("place", ["stream", "checksum"])
def test_a_compressed_file_that_does_not_match_its_checksum_is_refused(tmp_path: Path, place: str) -> None:
    path = Path(save(tmp_path / "ct.nii.gz", hu_volume()))
    content = gzip.decompress(path.read_bytes())
    sound, other = gzip.compress(content), gzip.compress(content[:-1] + bytes([content[-1] ^ 1]))
    path.write_bytes(other[:-8] + sound[-8:] if place == "stream" else sound[:-8] + bytes(4) + sound[-4:])
    assert "its voxels cannot be read (CRC check failed" in refusal(read_nifti, path).problem


def test_bytes_after_the_voxels_are_read_up_to_a_limit(tmp_path: Path) -> None:
    path = Path(save(tmp_path / "ct.nii.gz", hu_volume()))
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content + bytes(10**6), 1))
    np.testing.assert_array_equal(read_nifti(path, VolumeOptions())[0].dataobj, hu_volume())
    path.write_bytes(gzip.compress(content + bytes(7 * 10**7), 1))
    assert "(more than 67 MB follow them)" in refusal(read_nifti, path).problem


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_voxels_that_begin_within_the_header_are_refused(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"ct{suffix}", hu_volume(), vox_offset=0)
    assert refusal(read_nifti, path).problem == "has the vox_offset 0, which lies in its header"


def test_an_infinite_slope_is_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "ct.nii.gz", hu_volume(), scl_slope=np.inf)
    assert refusal(read_nifti, file).problem == "has the scl_slope inf"


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ({"dim1": -12}, r"has shape \(-12, 10, 8\)"),
        ({"vox_offset": np.inf}, r"cannot be read as NIfTI \(cannot convert float"),
    ],
    ids=["size", "offset"],
)
def test_a_library_prints_nothing_about_an_impossible_header(
    tmp_path: Path, field: dict[str, float], problem: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert re.match(problem, refusal(read_nifti, save(tmp_path / "ct.nii", hu_volume(), **field)).problem)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_a_file_that_ends_within_its_header_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ct{suffix}"
    path.write_bytes(whole_file(tmp_path, suffix)[:60])
    found = refusal(read_nifti, path)
    assert found.problem.startswith("cannot be read as NIfTI (")
    assert found.remedy == AGAIN


PAGE_REMEDY = "Download or copy the file again; the server sent a page, perhaps because you were not logged in."


@pytest.mark.parametrize(
    ("name", "content", "problem", "remedy"),
    [
        ("ct.nii.gz", lambda plain: b"", "is empty (0 bytes)", AGAIN),
        (
            "ct.nii.gz",
            lambda plain: b"\n<!DOCTYPE html><html>Sign in</html>",
            "is an HTML or XML page, not an image",
            PAGE_REMEDY,
        ),
        (
            "ct.nii.gz",
            lambda plain: plain,
            "ends in .gz but is not gzip-compressed",
            "Rename it if it is plain .nii; otherwise download or copy the file again.",
        ),
        (
            "ct.nii",
            lambda plain: gzip.compress(plain),
            "ends in .nii but is gzip-compressed",
            "Rename it to .nii.gz.",
        ),
        (
            "ct.dcm",
            lambda plain: bytes(128) + b"DICM",
            "is a single DICOM file of a series",
            "Pass the folder that contains all slices of the series.",
        ),
    ],
    ids=["empty", "HTML", "plain named .gz", "compressed named .nii", "DICOM"],
)
def test_a_file_with_other_content_is_refused(
    tmp_path: Path, name: str, content: Callable[[bytes], bytes], problem: str, remedy: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content(whole_file(tmp_path, ".nii")))
    found = refusal(read_nifti, path)
    assert found.problem == problem.format(path=path)
    assert found.remedy == remedy


def test_another_medical_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ct.mgz"
    nib.save(nib.MGHImage(hu_volume(), AFFINE), path)
    found = refusal(read_nifti, path)
    assert found.problem == "is a MGHImage, not NIfTI"
    assert found.remedy == "Convert it to .nii.gz first."


@pytest.mark.parametrize(
    ("name", "problem"),
    [("absent.nii.gz", "cannot be opened (No such file or directory)"), ("", "is a folder, not a file")],
    ids=["absent", "folder"],
)
def test_what_cannot_be_opened_is_named(tmp_path: Path, name: str, problem: str) -> None:
    found = refusal(read_nifti, tmp_path / name)
    assert found.problem == problem
