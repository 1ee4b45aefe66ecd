"""Impossible headers of NRRD and MetaImage are refused before ITK reads them."""

from __future__ import annotations

import bz2
import re
from pathlib import Path

import numpy as np
import pytest

from i2net_bundle.checks.cases import check_case
from i2net_bundle.checks.scans import load_volume
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.itk_headers import read_header
from i2net_bundle.io.options import VolumeOptions
from tests.checks.ct_files import hu_volume
from tests.io.itk_files import header_file

NRRD = (".nhdr", r"^dimension:.*", r"^sizes:.*")
META = (".mhd", r"^NDims.*", r"^DimSize.*")
DIGITS = "9" * 5000


@pytest.mark.parametrize(
    "lines",
    [
        ("NDims = 99", None),
        ("NDims = -1", None),
        ("NDims = 0", None),
        ("NDims = 1e9", None),
        ("NDims = 1000000000", None),
        (f"NDims = {DIGITS}", None),
        (None, "DimSize = 0 5 5"),
        (None, "DimSize = -4 5 5"),
        (None, f"DimSize = {DIGITS} 5 5"),
        (None, "DimSize = 20 18"),
        (None, "DimSize = nan 5 5"),
    ],
)
def test_an_impossible_size_of_metaimage_is_refused(lines: tuple[str | None, str | None], tmp_path: Path) -> None:
    suffix, *patterns = META
    replaced = [(pattern, line) for pattern, line in zip(patterns, lines, strict=True) if line]
    (found,) = check_case({"image": header_file(tmp_path, suffix, *replaced)}, VolumeOptions())
    assert found.problem.startswith("has an impossible size (NDims ")
    assert len(found.problem) < 200


@pytest.mark.parametrize(
    "lines",
    [
        ("dimension: 99", None),
        ("dimension: -1", None),
        (f"dimension: {DIGITS}", None),
        (None, f"sizes: {DIGITS} 5 5"),
        (None, "sizes: 0 5 5"),
        (None, "sizes: 5 5"),
    ],
)
def test_an_impossible_size_of_nrrd_is_refused(lines: tuple[str | None, str | None], tmp_path: Path) -> None:
    suffix, *patterns = NRRD
    replaced = [(pattern, line) for pattern, line in zip(patterns, lines, strict=True) if line]
    (found,) = check_case({"image": header_file(tmp_path, suffix, *replaced)}, VolumeOptions())
    assert found.problem.startswith("has an impossible size (dimension ")


@pytest.mark.parametrize(
    ("suffix", "pattern", "line"),
    [(".mhd", r"^DimSize.*", "DimSize = 9000 9000 9000"), (".nhdr", r"^sizes:.*", "sizes: 9000 9000 9000")],
)
def test_a_size_that_the_voxel_file_cannot_hold_is_refused(
    suffix: str, pattern: str, line: str, tmp_path: Path
) -> None:
    (found,) = check_case({"image": header_file(tmp_path, suffix, (pattern, line))}, VolumeOptions())
    assert "its header claims 1.5 TB, and a file of" in found.problem


@pytest.mark.parametrize("encoding", ["bzip2", "bz2", "zip"])
def test_an_encoding_that_is_not_read_is_named(encoding: str, tmp_path: Path) -> None:
    path = header_file(tmp_path, ".nhdr", (r"^encoding:.*", f"encoding: {encoding}"))
    voxels = path.with_suffix(".raw")
    voxels.write_bytes(bz2.compress(voxels.read_bytes()))
    with pytest.raises(DataError, match=rf"is encoded by {encoding}, which is not read\. Save it with gzip") as caught:
        load_volume(path, VolumeOptions())
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "kind"), [("/dev/zero", "a character device"), ("/", "a folder")], ids=["device", "folder"]
)
@pytest.mark.parametrize(
    ("suffix", "pattern", "field"),
    [(".mhd", r"^ElementDataFile.*", "ElementDataFile ="), (".nhdr", r"^data file:.*", "data file:")],
)
def test_a_voxel_file_that_is_no_file_is_refused(
    suffix: str, pattern: str, field: str, target: str, kind: str, tmp_path: Path
) -> None:
    path = header_file(tmp_path, suffix, (pattern, f"{field} voxels.raw"))
    (tmp_path / "voxels.raw").symlink_to(target)
    (found,) = check_case({"image": path}, VolumeOptions())
    assert found.file == str(path)
    assert found.problem == f"names 'voxels.raw' as the file of its voxels, which is {kind}, not a file"


def test_the_keys_of_a_program_do_not_replace_nrrd_s_fields(tmp_path: Path) -> None:
    path = header_file(tmp_path, ".nhdr", ("^space: ", "space:=RAS\nspace: "))
    path.write_text(re.sub(r"^(encoding:.*)$", r"\1\nspace:=RAS", path.read_text(), flags=re.MULTILINE))
    assert read_header(path)["space"] == "left-posterior-superior"
    assert np.array_equal(np.asarray(load_volume(path, VolumeOptions())[0].dataobj), hu_volume())
