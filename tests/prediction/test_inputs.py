"""Inputs of the command line become cases; for several channels, several files form one case."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2net_bundle.io.findings import DataError
from i2net_bundle.prediction.inputs import find_inputs
from tests.checks.ct_files import hu_volume, save
from tests.io.dicom.files import write_ct


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
        ("a.png", True, "is a 2D image, but the task reads volumes"),
        ("a.nii.gz", False, "is a volume, but the task reads 2D"),
    ],
)
def test_a_file_of_the_other_kind_is_refused(tmp_path: Path, name: str, volumes: bool, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        find_inputs([touch(tmp_path, name) / name], volumes)


def test_results_inside_an_input_folder_are_not_inputs(tmp_path: Path) -> None:
    touch(tmp_path / "scans", "ct.nii.gz", "out/ct_mask.nii.gz")
    write_ct(tmp_path / "scans" / "out" / "segmentation")
    found = find_inputs([tmp_path / "scans"], volumes=True, out_dir=tmp_path / "scans" / "out")
    assert [case["image"] for case in found] == [str(tmp_path / "scans" / "ct.nii.gz")]


def test_pictures_inside_an_input_folder_are_not_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "out/a_mask.png", "out/pictures/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    found = find_inputs([tmp_path], volumes=False, out_dir=tmp_path / "link")
    assert [case["image"] for case in found] == [str(tmp_path / "a.png")]


def test_a_folder_of_results_alone_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "out/a_mask.png")
    with pytest.raises(FileNotFoundError, match="contains no image outside the output folder"):
        find_inputs([tmp_path], volumes=False, out_dir=tmp_path / "out")


def test_an_input_folder_is_not_the_output_folder(tmp_path: Path) -> None:
    touch(tmp_path, "ct.nii.gz")
    with pytest.raises(ValueError, match="is both an input folder and the output folder"):
        find_inputs([tmp_path], volumes=True, out_dir=tmp_path)


def test_an_input_folder_may_lie_inside_the_output_folder(tmp_path: Path) -> None:
    touch(tmp_path, "images/ct.nii.gz")
    found = find_inputs([tmp_path / "images"], volumes=True, out_dir=tmp_path)
    assert [case["image"] for case in found] == [str(tmp_path / "images" / "ct.nii.gz")]


def test_linked_folders_are_searched_once_and_circles_end(tmp_path: Path) -> None:
    scans, elsewhere = tmp_path / "scans", tmp_path / "elsewhere"
    touch(scans, "ct.nii.gz")
    touch(elsewhere, "p2/ct.nii.gz")
    (scans / "linked").symlink_to(elsewhere)
    (scans / "again").symlink_to(elsewhere / "p2")
    (elsewhere / "circle").symlink_to(scans)
    found = [Path(case["image"]).resolve() for case in find_inputs([scans], volumes=True)]
    assert sorted(found) == [elsewhere / "p2" / "ct.nii.gz", scans / "ct.nii.gz"]


def test_a_linked_patient_folder_of_dicom_is_a_case(tmp_path: Path) -> None:
    write_ct(tmp_path / "scans" / "p1")
    write_ct(tmp_path / "elsewhere", uid="1.2.3.7")
    (tmp_path / "scans" / "p2").symlink_to(tmp_path / "elsewhere")
    found = [Path(case["image"]).name for case in find_inputs([tmp_path / "scans"], volumes=True)]
    assert len(found) == 2 and "p2" in found


def test_a_broken_link_to_an_image_is_a_case_that_fails(tmp_path: Path) -> None:
    touch(tmp_path, "ct.nii.gz")
    (tmp_path / "gone.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    assert [case["case"] for case in find_inputs([tmp_path], volumes=True)] == ["ct", "gone"]


def test_pictures_beside_volumes_are_skipped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a.nii.gz", "screenshots/a.png", "logo.bmp")
    assert [case["case"] for case in find_inputs([tmp_path], volumes=True)] == ["a"]
    assert f"{tmp_path}: skips 2 pictures beside the volumes (logo.bmp, screenshots/a.png)." in caplog.text


def test_a_logo_on_a_disc_does_not_stop_its_dicom_series(tmp_path: Path) -> None:
    write_ct(tmp_path / "ST0" / "SE1")
    touch(tmp_path, "VIEWER/logo.png", "AUTORUN.INF")
    assert [case["image"] for case in find_inputs([tmp_path], volumes=True)] == [str(tmp_path)]


def test_a_folder_of_pictures_alone_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    with pytest.raises(ValueError, match=r"a\.png is a 2D image, but the task reads volumes"):
        find_inputs([tmp_path], volumes=True)


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing does not exist"):
        find_inputs([tmp_path / "nothing"], volumes=True)


def test_an_image_named_twice_is_segmented_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}.nii.gz", hu_volume())
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "a.nii.gz")  # a name of its own
    inputs = [tmp_path / "b.nii.gz", tmp_path, tmp_path / ".." / tmp_path.name / "b.nii.gz"]
    assert [case["case"] for case in find_inputs(inputs, volumes=True)] == ["b", "a", "link"]
