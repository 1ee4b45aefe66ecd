"""Images of a folder, one file per channel where there are several, and names for cases."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from i2net_bundle.data.image_files import group_channels, list_images, name_cases
from i2net_bundle.io.findings import DataError


def test_images_of_a_folder_come_in_the_order_of_their_names_and_nothing_else_does(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.bmp", "d.nii", "c.nii.gz", "notes.txt", "e.json", "f.npz"):
        (tmp_path / name).touch()
    assert [Path(case["image"]).name for case in list_images(tmp_path)] == ["a.bmp", "b.PNG", "c.nii.gz", "d.nii"]


@pytest.mark.parametrize("folder", ["empty", "absent"])
def test_a_folder_without_images_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=rf"No image in {tmp_path / folder} .*--dataset_dir"):
        list_images(tmp_path / folder)


@pytest.mark.parametrize("count", [2, 3])
def test_files_of_channels_are_one_case(tmp_path: Path, count: int) -> None:
    for name in ("b", "a_1"):
        for number in range(count):
            (tmp_path / f"{name}_{number:04d}.nii.gz").touch()
    cases = list_images(tmp_path, num_channels=count)
    assert [case["case"] for case in cases] == ["a_1", "b"]
    assert cases[1]["image"] == [str(tmp_path / f"b_{number:04d}.nii.gz") for number in range(count)]


def test_with_one_channel_every_file_is_a_case(tmp_path: Path) -> None:
    for name in ("scan_0000.nii.gz", "scan_0001.nii.gz"):
        (tmp_path / name).touch()
    assert [case["case"] for case in list_images(tmp_path)] == ["scan_0000", "scan_0001"]


def test_a_file_without_the_number_of_a_channel_is_a_case_of_its_own() -> None:
    assert group_channels(["x/all.nii.gz"], 2) == [{"image": "x/all.nii.gz"}]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (["a_0000.nii.gz"], r"the case a lacks a_0001, and the network takes 2 channels"),
        (["a_0001.nii.gz"], r"the case a lacks a_0000"),
        (["a_0000.nii.gz", "a_0001.nii.gz", "a_0002.nii.gz"], r"the case a has 3 files, and the network takes 2"),
    ],
    ids=["second missing", "first missing", "one too many"],
)
def test_a_case_that_lacks_a_channel_is_refused_by_name(files: list[str], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        group_channels([f"folder/{file}" for file in files], 2)


def test_channels_of_two_folders_are_two_cases() -> None:
    cases = group_channels([f"{folder}/ct_000{number}.nii.gz" for number in range(2) for folder in ("p1", "p2")], 2)
    assert [case["case"] for case in name_cases(cases)] == ["p1_ct", "p2_ct"]


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (["a.nii.gz", "b.nii"], ["a", "b"]),
        (["p1/ct.nii.gz", "p2/ct.nii.gz", "p3/mr.nii.gz"], ["p1_ct", "p2_ct", "mr"]),
        (["a/x/ct.nii", "b/x/ct.nii"], ["a_x_ct", "b_x_ct"]),
        (["a.png", "a.bmp", "case.1.png", "case.2.png"], ["a_png", "a_bmp", "case.1", "case.2"]),
    ],
    ids=["own names", "folders per patient", "deeper folders", "two formats and dots"],
)
def test_cases_get_names_that_tell_them_apart(images: list[str], names: list[str]) -> None:
    assert [case["case"] for case in name_cases([{"image": image} for image in images])] == names


def test_names_that_leave_no_room_for_a_suffix_are_shortened_and_stay_distinct(tmp_path: Path) -> None:
    images = [tmp_path / f"{letter * 120}{number}.png" for letter in ("n", "é") for number in range(2)]
    images[:2] = [tmp_path / f"{'n' * 240}{number}.nii.gz" for number in range(2)]
    names = [case["case"] for case in name_cases([{"image": str(image)} for image in images])]
    assert len(set(names)) == 4
    assert all(len(os.fsencode(name)) <= 200 for name in names)
    assert names[0].startswith("n" * 190) and names[2].startswith("é" * 90)
