"""Inputs of the command line become cases, several files of which are one where the network takes several channels."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2net_bundle.io.findings import DataError
from i2net_bundle.prediction.inputs import find_inputs


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_files_of_channels_are_one_case_named_without_the_number(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz", "sub/b_0000.nii.gz", "sub/b_0001.nii.gz")
    cases = find_inputs([tmp_path], volumes=True, num_channels=2)
    assert [case["case"] for case in cases] == ["a", "b"]
    assert cases[0]["image"] == [str(tmp_path / f"a_000{number}.nii.gz") for number in range(2)]
    assert cases[0]["shown"] == str(tmp_path / "a_0000.nii.gz")


def test_files_named_one_by_one_are_grouped_too(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz")
    files = [tmp_path / "a_0001.nii.gz", tmp_path / "a_0000.nii.gz"]
    (case,) = find_inputs(files, volumes=True, num_channels=2)
    assert [Path(path).name for path in case["image"]] == ["a_0000.nii.gz", "a_0001.nii.gz"]


def test_a_case_that_lacks_a_channel_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz")
    with pytest.raises(DataError, match=r"the case a lacks a_0001, and the network takes 2 channels"):
        find_inputs([tmp_path], volumes=True, num_channels=2)


def test_with_one_channel_every_file_is_a_case(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz")
    assert [case["case"] for case in find_inputs([tmp_path], volumes=True)] == ["a_0000", "a_0001"]


@pytest.mark.parametrize(
    ("name", "volumes", "problem"),
    [
        ("a.png", True, "is a 2D image, and the task reads volumes"),
        ("a.nii.gz", False, "is a volume, and the task reads 2D"),
    ],
)
def test_a_file_of_the_other_kind_is_refused(tmp_path: Path, name: str, volumes: bool, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        find_inputs([touch(tmp_path, name) / name], volumes)
