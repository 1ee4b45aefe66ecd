"""nnU-Net v2 data sets are read without conversion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from i2net_bundle.data import read_datalist
from i2net_bundle.io.findings import DataError

HEADER = {"channel_names": {"0": "T2", "1": "ADC"}, "labels": {"background": 0, "tumour": 1}, "file_ending": ".nii.gz"}


def write_folder(
    folder: Path, *, cases: tuple[str, ...] = ("p_1", "p_2"), tests: tuple[str, ...] = (), **changes: Any
) -> Path:
    """Write a data set whose files contain their own names; return its dataset.json."""
    header = {**HEADER, **changes}
    ending = header["file_ending"]
    channels = 1 if ending == ".png" else len(header["channel_names"])
    for part, names in (("Tr", cases), ("Ts", tests)):
        for name in names:
            files = [f"images{part}/{name}_{number:04d}{ending}" for number in range(channels)]
            files += [f"labelsTr/{name}{ending}"] if part == "Tr" else []
            for file in files:
                path = folder / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(file, encoding="utf-8")
    (folder / "dataset.json").write_text(json.dumps(header), encoding="utf-8")
    return folder / "dataset.json"


def test_cases_have_one_file_per_channel_and_the_name_of_their_label(tmp_path: Path) -> None:
    found = read_datalist(write_folder(tmp_path))
    assert (found.class_names, found.channels) == (("background", "tumour"), ("T2", "ADC"))
    assert found.splits.keys() == {"training"}
    first = found.cases("training")[0]
    assert first == {
        "image": [str(tmp_path / f"imagesTr/p_1_000{number}.nii.gz") for number in range(2)],
        "label": str(tmp_path / "labelsTr/p_1.nii.gz"),
        "case": "p_1",
    }


def test_a_single_channel_is_one_path_and_the_case_has_no_channel_in_its_name(tmp_path: Path) -> None:
    found = read_datalist(write_folder(tmp_path, channel_names={"0": "CT"}))
    assert [(case["image"], case["case"]) for case in found.cases("training")] == [
        (str(tmp_path / f"imagesTr/{name}_0000.nii.gz"), name) for name in ("p_1", "p_2")
    ]


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".tif", ".png"])
def test_only_files_with_the_declared_ending_are_listed(tmp_path: Path, ending: str) -> None:
    changes = {"channel_names": {"0": "R", "1": "G", "2": "B"}} if ending in (".png", ".tif") else {}
    path = write_folder(tmp_path, file_ending=ending, **changes) if ending != ".tif" else None
    if path is None:
        for file in ("imagesTr/p_1_0000.tif", "labelsTr/p_1.tif"):
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).touch()
        path = tmp_path / "dataset.json"
        path.write_text(json.dumps({**HEADER, **changes, "file_ending": ".tif"}), encoding="utf-8")
    (tmp_path / "imagesTr/notes.txt").touch()
    assert all(str(case["label"]).endswith(ending) for case in read_datalist(path).cases("training"))


def test_a_2d_image_has_its_colours_in_one_file(tmp_path: Path) -> None:
    found = read_datalist(write_folder(tmp_path, file_ending=".png", channel_names={"0": "R", "1": "G", "2": "B"}))
    assert found.cases("training")[0]["image"] == str(tmp_path / "imagesTr/p_1_0000.png")
    assert found.channels == ("R", "G", "B")


def test_test_images_are_listed_with_labels_if_they_have_any(tmp_path: Path) -> None:
    path = write_folder(tmp_path, tests=("t_1", "t_2"))
    (tmp_path / "labelsTs").mkdir()
    (tmp_path / "labelsTs/t_2.nii.gz").touch()
    cases = read_datalist(path).cases("test")
    assert [(case["case"], "label" in case) for case in cases] == [("t_1", False), ("t_2", True)]


def test_cases_listed_in_dataset_json_are_used(tmp_path: Path) -> None:
    listed = {"q": {"images": ["x/a.nii.gz", "x/b.nii.gz"], "label": "x/c.nii.gz"}}
    path = write_folder(tmp_path, cases=(), dataset=listed)
    (tmp_path / "x").mkdir()
    for name in "abc":
        (tmp_path / f"x/{name}.nii.gz").touch()
    assert read_datalist(path).cases("training") == [
        {
            "image": [str(tmp_path / "x/a.nii.gz"), str(tmp_path / "x/b.nii.gz")],
            "label": str(tmp_path / "x/c.nii.gz"),
            "case": "q",
        }
    ]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda folder: (folder / "imagesTr/p_2_0001.nii.gz").unlink(), r"the case p_2 lacks p_2_0001\.nii\.gz"),
        (lambda folder: (folder / "imagesTr/p_1_0002.nii.gz").touch(), r"the case p_1 has p_1_0002\.nii\.gz, but"),
        (lambda folder: (folder / "labelsTr/p_1.nii.gz").unlink(), r"the case p_1 has no label labelsTr/p_1\.nii\.gz"),
        (lambda folder: (folder / "labelsTr/p_3.nii.gz").touch(), r"the case p_3 has a label but no image"),
        (
            lambda folder: (folder / "imagesTr/p_4.nii.gz").touch(),
            r"p_4\.nii\.gz: does not follow nnU-Net's naming of images",
        ),
    ],
    ids=["channel missing", "channel not declared", "no label", "no image", "another name"],
)
def test_an_incomplete_case_is_refused_by_name(tmp_path: Path, spoil: Any, problem: str) -> None:
    path = write_folder(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=problem):
        read_datalist(path)


def test_every_incomplete_case_is_named_up_to_twenty(tmp_path: Path) -> None:
    path = write_folder(tmp_path, cases=tuple(f"p_{number}" for number in range(25)))
    for number in range(25):
        (tmp_path / f"imagesTr/p_{number}_0001.nii.gz").unlink()
    with pytest.raises(DataError) as caught:
        read_datalist(path)
    assert len(caught.value.findings) == 21
    assert "has 5 more faults of this kind" in str(caught.value)


def test_a_number_of_cases_that_differs_from_dataset_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"declares 3 training cases \(numTraining\), but 2 were found"):
        read_datalist(write_folder(tmp_path, numTraining=3))


def test_a_folder_without_any_case_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.json: lists no cases, and its imagesTr is empty or missing"):
        read_datalist(write_folder(tmp_path, cases=()))


@pytest.mark.parametrize("ending", [None, ".b2nd", 7])
def test_an_unknown_file_ending_is_refused(tmp_path: Path, ending: Any) -> None:
    path = write_folder(tmp_path)
    path.write_text(json.dumps({**HEADER, "file_ending": ending}), encoding="utf-8")
    with pytest.raises(DataError, match=r'Set "file_ending" to the suffix of the images'):
        read_datalist(path)
