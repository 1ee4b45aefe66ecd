"""Data lists in every form give the cases of a data set, or are refused with the fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from i2net_bundle.data import load_cases, read_datalist
from i2net_bundle.io.findings import DataError


def write_set(folder: Path, **splits: Any) -> Path:
    """Write a data set with two empty files, a.nii.gz and b.nii.gz."""
    for name in ("a.nii.gz", "b.nii.gz"):
        (folder / name).touch()
    (folder / "dataset.json").write_text(json.dumps(splits), encoding="utf-8")
    return folder


PAIR = {"image": "./a.nii.gz", "label": "./b.nii.gz"}


@pytest.mark.parametrize(("split", "cases"), [("training", 2), ("validation", 1), ("test", 1)])
@pytest.mark.parametrize("kind", ["ct_dir", "gland_dir"])
def test_every_split_of_a_phantom_set_lists_its_files(
    kind: str, split: str, cases: int, request: pytest.FixtureRequest
) -> None:
    found = load_cases(request.getfixturevalue(kind), split)
    assert len(found) == cases
    assert all(case.keys() == {"image", "label", "case"} for case in found)
    assert all(Path(case[key]).is_file() for case in found for key in ("image", "label"))


def test_no_file_is_in_two_splits(ct_dir: Path) -> None:
    files = [
        case[key]
        for split in ("training", "validation", "test")
        for case in load_cases(ct_dir, split)
        for key in ("image", "label")
    ]
    assert len(files) == len(set(files)) == 8


def test_paths_are_relative_to_the_data_set_and_not_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path, training=[PAIR])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    case = load_cases(tmp_path, "training")[0]
    assert (Path(case["image"]), Path(case["label"])) == (tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")


def test_a_folder_without_dataset_json_is_refused_with_the_option_to_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"No dataset\.json in {tmp_path}.*--dataset_dir"):
        load_cases(tmp_path, "training", required=False)


def test_a_required_split_that_is_missing_is_refused(tmp_path: Path) -> None:
    write_set(tmp_path, training=[PAIR])
    with pytest.raises(ValueError, match=r"dataset\.json lists no 'validation' cases"):
        load_cases(tmp_path, "validation")


def test_an_optional_split_that_is_missing_is_empty(tmp_path: Path) -> None:
    write_set(tmp_path, training=[PAIR])
    assert load_cases(tmp_path, "validation", required=False) == []


@pytest.mark.parametrize("split", ["training", "validation", "test"])
def test_a_split_that_lists_nothing_is_empty(tmp_path: Path, split: str) -> None:
    others = {name: [PAIR] for name in ("training", "test") if name != split}
    assert load_cases(write_set(tmp_path, **others, **{split: []}), split, required=False) == []


@pytest.mark.parametrize(
    "contents",
    [{}, {"training": []}, {"name": "a set", "keywords": ["abdomen"], "size": [3, 4]}],
    ids=["empty", "an empty list", "no list of cases"],
)
def test_a_data_list_without_any_case_is_refused(tmp_path: Path, contents: Any) -> None:
    write_set(tmp_path, **contents)
    with pytest.raises(DataError, match=rf"^{tmp_path / 'dataset.json'}: lists no cases\. Add lists"):
        load_cases(tmp_path, "training", required=False)


def test_files_that_do_not_exist_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    write_set(tmp_path, training=[PAIR, {"image": "c.nii.gz", "label": "d.nii.gz"}])
    with pytest.raises(FileNotFoundError, match=r"dataset\.json lists 2 files that cannot be found, .*/c\.nii\.gz"):
        load_cases(tmp_path, "training")


def test_test_images_without_labels_may_be_bare_names_as_in_the_decathlon(tmp_path: Path) -> None:
    cases = load_cases(write_set(tmp_path, test=["./a.nii.gz", "./b.nii.gz"]), "test")
    assert [(case.keys(), Path(case["image"]).name) for case in cases] == [
        ({"image", "case"}, n) for n in ("a.nii.gz", "b.nii.gz")
    ]


def test_other_keys_of_a_case_such_as_its_fold_are_not_files(tmp_path: Path) -> None:
    case = load_cases(write_set(tmp_path, training=[{**PAIR, "fold": 0}]), "training")[0]
    assert Path(case["image"]) == tmp_path / "a.nii.gz"


# Which list, and which splits


def test_another_data_list_in_the_folder_is_read_by_name(tmp_path: Path) -> None:
    write_set(tmp_path, training=[PAIR])
    (tmp_path / "fold_0.json").write_text(json.dumps({"validation": [PAIR]}), encoding="utf-8")
    assert len(load_cases(tmp_path, "validation", datalist="fold_0.json")) == 1
    assert load_cases(tmp_path, "training", required=False, datalist="fold_0.json") == []
    with pytest.raises(FileNotFoundError, match=rf"No fold_1\.json in {tmp_path}"):
        load_cases(tmp_path, "training", datalist="fold_1.json")


def test_an_unknown_split_is_refused_and_the_existing_ones_are_listed(tmp_path: Path) -> None:
    write_set(tmp_path, training=[PAIR], testA=["a.nii.gz"])
    known = r"its lists: training, testA\.$"
    with pytest.raises(ValueError, match=rf"^{tmp_path / 'dataset.json'} lists no 'test' cases; {known}"):
        load_cases(tmp_path, "test")


@pytest.mark.parametrize("split", ["testA", "validation"])
def test_bare_file_names_are_images_without_labels_in_any_list(tmp_path: Path, split: str) -> None:
    write_set(tmp_path, **{split: ["./a.nii.gz"]})
    assert load_cases(tmp_path, split) == [{"image": str(tmp_path / "a.nii.gz"), "case": "a"}]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"training": [', r"dataset\.json: is not valid JSON \(.*line 1 column 15.*\)\. Correct it"),
        (b"\xff\xfe{}", r"dataset\.json: is not valid JSON \('utf-8' codec.*\)\. Correct it"),
        (b'["a.nii.gz"]', r"dataset\.json: is not a data list, which is an object with lists such as 'training'"),
        (
            b'{"training": [{"image": "a.nii.gz"}, {"label": "b.nii.gz"}]}',
            r"dataset\.json: entry 2 of 'training' does not have the form \{\"image\": path, \"label\": path\}",
        ),
        (b'{"training": [{"image": []}]}', r"entry 1 of 'training' does not have the form"),
        (b'{"training": [{"image": ["a.nii.gz", 1]}]}', r"entry 1 of 'training' does not have the form"),
    ],
    ids=["cut off", "UTF-16", "a list", "no image", "no channel", "a number for a channel"],
)
def test_a_malformed_data_list_is_refused_with_the_fault(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(ValueError, match=problem):
        load_cases(tmp_path, "training")


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [PAIR]}), encoding="utf-8-sig")
    assert len(load_cases(tmp_path, "training")) == 1


# Labels and channels


@pytest.mark.parametrize(
    ("labels", "names", "ignore_id"),
    [
        ({"0": "background", "1": "liver"}, ("background", "liver"), None),
        ({"1": "liver", "0": "background"}, ("background", "liver"), None),
        ({"1": "liver", "2": "spleen"}, ("background", "liver", "spleen"), None),
        ({"background": 0, "liver": 1}, ("background", "liver"), None),
        ({"background": "0", "liver": "1"}, ("background", "liver"), None),
        ({"background": 0, "liver": 1, "ignore": 2}, ("background", "liver"), 2),
        ({"0": "background", "1": "肝臓", "2": "Tumor (Grad 1)"}, ("background", "肝臓", "Tumor (Grad 1)"), None),
        ({}, None, None),
        (None, None, None),
    ],
    ids=[
        "ids to names",
        "in any order",
        "without 0",
        "names to ids",
        "as text",
        "ignored",
        "any letters",
        "empty",
        "none",
    ],
)
def test_names_of_labels_are_read_in_either_direction(
    tmp_path: Path, labels: Any, names: tuple[str, ...] | None, ignore_id: int | None
) -> None:
    found = read_datalist(write_set(tmp_path, training=[PAIR], labels=labels) / "dataset.json")
    assert (found.class_names, found.ignore_id) == (names, ignore_id)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({"0": "background", "1": "liver", "3": "spleen"}, r"without gaps; 2 is missing from 0, 1, 3"),
        ({"2": "liver"}, r"without gaps; 0 is missing from 2"),
        ({"background": 0, "liver": 1, "spleen": 1}, r"the id 1 has several labels: liver, spleen"),
        ({"0": "background", "1": "liver", "01": "spleen"}, r"the id 1 has several labels: liver, spleen"),
        ({"0": "background", "1": "liver", "2": "Liver"}, r"two classes have the same name: 'liver' and 'Liver'"),
        ({"0": "background", "1": 5}, r"the name of label 1 must be text, found 5"),
        ({"0": "background", "1": ""}, r"the name of class 1 is empty or contains control characters"),
        ({"0": "background", "1": "a\nb"}, r"the name of class 1 is empty or contains control characters"),
        ({"background": 0, "liver": -1}, r"must be whole numbers from 0, found -1"),
        ({"background": 0, "liver": True}, r"must be whole numbers from 0, found True"),
        ({"background": 0, "liver": 1.5}, r"must be whole numbers from 0, found 1\.5"),
        ({"background": 0, "whole": [1, 2], "core": [2]}, r"its labels are regions that may overlap \(whole, core\)"),
        (["background", "liver"], r'"labels" must map ids to names'),
        ({str(number): f"class {number}" for number in range(257)}, r"there are 257 classes; 1 to 256 are allowed"),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
def test_labels_that_do_not_number_classes_are_refused(tmp_path: Path, labels: Any, problem: str) -> None:
    write_set(tmp_path, training=[PAIR], labels=labels)
    with pytest.raises(DataError, match=rf"^{tmp_path / 'dataset.json'}: .*{problem}"):
        read_datalist(tmp_path / "dataset.json")


@pytest.mark.parametrize(
    ("declared", "channels"),
    [
        ({"modality": {"0": "CT"}}, ("CT",)),
        ({"modality": {"1": "ADC", "0": "T2"}}, ("T2", "ADC")),
        ({"channel_names": {"0": "T2"}, "modality": {"0": "MRI"}}, ("T2",)),
        ({"channels": ["T1", "T2"]}, ("T1", "T2")),
        ({"modality": "CT"}, ("CT",)),
        ({}, None),
    ],
    ids=["Decathlon", "several", "nnU-Net first", "a list", "text", "none"],
)
def test_channels_are_read_in_any_form(tmp_path: Path, declared: Any, channels: tuple[str, ...] | None) -> None:
    assert read_datalist(write_set(tmp_path, training=[PAIR], **declared) / "dataset.json").channels == channels


@pytest.mark.parametrize(
    ("modality", "problem"),
    [
        ({"0": "T2", "2": "ADC"}, r"must number the channels from 0, found 0, 2"),
        ({"0": 5}, r"the name of a channel must be printable text, found 5"),
        (7, r'"modality" must map numbers to names'),
    ],
)
def test_channels_without_names_are_refused(tmp_path: Path, modality: Any, problem: str) -> None:
    write_set(tmp_path, training=[PAIR], modality=modality)
    with pytest.raises(DataError, match=problem):
        read_datalist(tmp_path / "dataset.json")


def test_a_case_may_have_one_file_per_channel(tmp_path: Path) -> None:
    case = {"image": ["a.nii.gz", "b.nii.gz"], "label": "b.nii.gz"}
    write_set(tmp_path, training=[case], channels=["T2", "ADC"])
    (found,) = load_cases(tmp_path, "training")
    assert found["image"] == [str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz")]


@pytest.mark.parametrize(
    ("channels", "declared"), [({"channels": ["T2", "ADC", "DWI"]}, "3 channels"), ({}, "no channels")]
)
def test_a_case_with_a_different_number_of_files_and_channels_is_refused(
    tmp_path: Path, channels: Any, declared: str
) -> None:
    write_set(tmp_path, training=[{"image": ["a.nii.gz", "b.nii.gz"], "label": "b.nii.gz"}], **channels)
    with pytest.raises(DataError, match=rf"a\.nii\.gz has 2 files, but the list declares {declared}"):
        read_datalist(tmp_path / "dataset.json")


def test_2d_images_have_rgb_channels(tmp_path: Path) -> None:
    write_set(tmp_path, training=["a.png"], modality={"0": "grey"})
    assert read_datalist(tmp_path / "dataset.json").channels == ("R", "G", "B")


def test_2d_images_with_other_channels_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path, training=["a.png"], channels=["red", "infrared"])
    with pytest.raises(DataError, match=r"declares 2 channels, but 2D images are read as RGB"):
        read_datalist(tmp_path / "dataset.json")


@pytest.mark.parametrize("value", [0, -0.5, True, "0.5", 1e400, [0.5]])
def test_an_impossible_size_of_pixels_is_refused(tmp_path: Path, value: Any) -> None:
    write_set(tmp_path, training=["a.png"], um_per_px=value)
    with pytest.raises(DataError, match=r'dataset\.json: "um_per_px" must be a number of micrometres above 0, found'):
        read_datalist(tmp_path / "dataset.json")


@pytest.mark.parametrize("value", [0.62005, 1, None])
def test_the_size_of_pixels_is_read(tmp_path: Path, value: float | None) -> None:
    write_set(tmp_path, training=["a.png"], um_per_px=value)
    assert read_datalist(tmp_path / "dataset.json").um_per_px == value


@pytest.mark.parametrize("value", ["mask", 1, ["classes"]])
def test_unknown_label_values_are_refused(tmp_path: Path, value: Any) -> None:
    write_set(tmp_path, training=["a.png"], label_values=value)
    with pytest.raises(DataError, match=r'"label_values" must be one of instances, binary, classes'):
        read_datalist(tmp_path / "dataset.json")


@pytest.mark.parametrize("value", [1, 256, "255", True])
def test_an_ignore_id_must_lie_beyond_the_classes(tmp_path: Path, value: Any) -> None:
    write_set(tmp_path, training=["a.png"], labels={"0": "a", "1": "b"}, ignore_id=value)
    with pytest.raises(DataError, match=r"its ignore_id must be a whole number from 2 to 255"):
        read_datalist(tmp_path / "dataset.json")


# One image in two splits


def different(folder: Path) -> Path:
    """Write files of equal size: a, b and c differ, and d is a copy of a."""
    for name, letter in (("a", b"1"), ("b", b"2"), ("c", b"3"), ("d", b"1")):
        (folder / f"{name}.nii.gz").write_bytes(letter * 100)
    return folder


@pytest.mark.parametrize("asked", ["training", "test"])
@pytest.mark.parametrize("other", ["a", "d"], ids=["the same file", "another name"])
def test_a_training_image_in_another_split_is_refused_and_both_files_are_named(
    tmp_path: Path, other: str, asked: str
) -> None:
    different(tmp_path)
    cases = {"training": ["b.nii.gz", "a.nii.gz"], "test": ["c.nii.gz", f"{other}.nii.gz"]}
    (tmp_path / "dataset.json").write_text(json.dumps(cases), encoding="utf-8")
    message = rf"dataset\.json: a\.nii\.gz of 'training' is the same image as {other}\.nii\.gz of 'test'\. Remove it"
    with pytest.raises(ValueError, match=message):
        load_cases(tmp_path, asked)


@pytest.mark.parametrize(
    "cases",
    [
        {"training": ["a.nii.gz"], "validation": ["b.nii.gz"], "test": ["c.nii.gz"]},
        {"training": ["b.nii.gz"], "validation": ["a.nii.gz"], "test": ["d.nii.gz"]},
        {"training": ["a.nii.gz", "d.nii.gz"], "test": ["b.nii.gz"]},
        {"training": ["a.nii.gz"], "test": ["absent.nii.gz"]},
    ],
    ids=["all different", "validation is the test", "twice in training", "a file that is not there"],
)
def test_other_repeated_images_are_allowed(tmp_path: Path, cases: dict[str, list[str]]) -> None:
    (different(tmp_path) / "dataset.json").write_text(json.dumps(cases), encoding="utf-8")
    assert len(load_cases(tmp_path, "training")) == len(cases["training"])
