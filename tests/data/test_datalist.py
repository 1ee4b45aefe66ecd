"""Which cases a data set has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from i2net_bundle.data import list_images, load_cases
from i2net_bundle.data.datalist import label_names, name_cases


def write_set(folder: Path, **splits: Any) -> Path:
    """A data set whose files are empty, two of them: a.nii.gz and b.nii.gz."""
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


def test_splits_share_no_file(ct_dir: Path) -> None:
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


def test_a_folder_without_dataset_json_is_named_with_the_option_that_sets_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"No dataset\.json in {tmp_path}.*--dataset_dir"):
        load_cases(tmp_path, "training", required=False)


def test_a_missing_split_is_refused_where_it_is_required(tmp_path: Path) -> None:
    write_set(tmp_path, training=[PAIR])
    with pytest.raises(ValueError, match=r"dataset\.json lists no 'validation' cases"):
        load_cases(tmp_path, "validation")


def test_a_missing_split_is_empty_where_it_is_not_required(tmp_path: Path) -> None:
    write_set(tmp_path, training=[PAIR])
    assert load_cases(tmp_path, "validation", required=False) == []


@pytest.mark.parametrize("split", ["training", "validation", "test"])
def test_a_split_that_lists_nothing_is_empty(tmp_path: Path, split: str) -> None:
    assert load_cases(write_set(tmp_path, **{split: []}), split, required=False) == []


def test_files_that_do_not_exist_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    write_set(tmp_path, training=[PAIR, {"image": "c.nii.gz", "label": "d.nii.gz"}])
    with pytest.raises(FileNotFoundError, match=r"dataset\.json names 2 files that do not exist, .*/c\.nii\.gz"):
        load_cases(tmp_path, "training")


def test_test_images_without_labels_may_be_bare_names_as_in_the_decathlon(tmp_path: Path) -> None:
    cases = load_cases(write_set(tmp_path, test=["./a.nii.gz", "./b.nii.gz"]), "test")
    assert [(case.keys(), Path(case["image"]).name) for case in cases] == [
        ({"image", "case"}, n) for n in ("a.nii.gz", "b.nii.gz")
    ]


def test_further_keys_of_a_case_such_as_its_fold_are_no_files(tmp_path: Path) -> None:
    case = load_cases(write_set(tmp_path, training=[{**PAIR, "fold": 0}]), "training")[0]
    assert Path(case["image"]) == tmp_path / "a.nii.gz"


def test_images_of_a_folder_come_in_the_order_of_their_names_and_nothing_else_does(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.bmp", "d.nii", "c.nii.gz", "notes.txt", "e.json", "f.npz"):
        (tmp_path / name).touch()
    assert [Path(case["image"]).name for case in list_images(tmp_path)] == ["a.bmp", "b.PNG", "c.nii.gz", "d.nii"]


@pytest.mark.parametrize("folder", ["empty", "absent"])
def test_a_folder_without_images_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=rf"No image in {tmp_path / folder} .*--dataset_dir"):
        list_images(tmp_path / folder)


# Which list, and which splits


def test_another_data_list_of_the_folder_is_read_by_its_name(tmp_path: Path) -> None:
    write_set(tmp_path, training=[PAIR])
    (tmp_path / "fold_0.json").write_text(json.dumps({"validation": [PAIR]}), encoding="utf-8")
    assert len(load_cases(tmp_path, "validation", datalist="fold_0.json")) == 1
    assert load_cases(tmp_path, "training", required=False, datalist="fold_0.json") == []
    with pytest.raises(FileNotFoundError, match=rf"No fold_1\.json in {tmp_path}"):
        load_cases(tmp_path, "training", datalist="fold_1.json")


@pytest.mark.parametrize(
    ("contents", "known"),
    [
        ({"training": [PAIR], "testA": ["a.nii.gz"]}, r"it has: training, testA\.$"),
        ({"name": "a set", "keywords": ["abdomen"], "size": [3, 4]}, r"it has: none\.$"),
    ],
    ids=["two splits", "no split"],
)
def test_an_unknown_split_is_refused_with_those_that_are_there(tmp_path: Path, contents: Any, known: str) -> None:
    write_set(tmp_path, **contents)
    with pytest.raises(ValueError, match=rf"^{tmp_path / 'dataset.json'} lists no 'test' cases; {known}"):
        load_cases(tmp_path, "test")


@pytest.mark.parametrize("split", ["testA", "validation"])
def test_bare_names_are_images_without_labels_in_any_list(tmp_path: Path, split: str) -> None:
    write_set(tmp_path, **{split: ["./a.nii.gz"]})
    assert load_cases(tmp_path, split) == [{"image": str(tmp_path / "a.nii.gz"), "case": "a"}]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"training": [', r"dataset\.json: is not valid JSON \(.*line 1 column 15.*\)\. Correct it"),
        (b"\xff\xfe{}", r"dataset\.json: is not valid JSON \('utf-8' codec.*\)\. Correct it"),
        (b'["a.nii.gz"]', r"dataset\.json: is no data list: an object with lists such as 'training' is needed"),
        (
            b'{"training": [{"image": "a.nii.gz"}, {"label": "b.nii.gz"}]}',
            r"dataset\.json: entry 2 of 'training' is not of the form \{\"image\": path, \"label\": path\}",
        ),
        (b'{"training": [{"image": ["a.nii.gz"]}]}', r"entry 1 of 'training' is not of the form"),
    ],
    ids=["cut off", "UTF-16", "a list", "no image", "several images"],
)
def test_a_data_list_that_is_none_is_named_with_what_is_wrong(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(ValueError, match=problem):
        load_cases(tmp_path, "training")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"0": "background", "1": "liver"}, {0: "background", 1: "liver"}),
        ({"background": 0, "liver": 1}, {0: "background", 1: "liver"}),
        ({"background": 0, "whole": [1, 2], "liver": 1}, {0: "background", 1: "liver"}),
        ({}, {}),
        (None, {}),
        (["background", "liver"], {}),
    ],
    ids=["ids to names", "names to ids", "with regions", "empty", "none", "a list"],
)
def test_names_of_labels_are_read_in_either_direction(labels: Any, names: dict[int, str]) -> None:
    assert label_names({"labels": labels}) == names


# One image in two splits


def different(folder: Path) -> Path:
    """Files of one size but of different content: a, b, c; d is a under another name."""
    for name, letter in (("a", b"1"), ("b", b"2"), ("c", b"3"), ("d", b"1")):
        (folder / f"{name}.nii.gz").write_bytes(letter * 100)
    return folder


@pytest.mark.parametrize("asked", ["training", "test"])
@pytest.mark.parametrize("other", ["a", "d"], ids=["the same file", "another name"])
def test_an_image_for_training_and_for_another_split_is_refused_and_both_files_are_named(
    tmp_path: Path, other: str, asked: str
) -> None:
    different(tmp_path)
    cases = {"training": ["b.nii.gz", "a.nii.gz"], "test": ["c.nii.gz", f"{other}.nii.gz"]}
    (tmp_path / "dataset.json").write_text(json.dumps(cases), encoding="utf-8")
    message = rf"dataset\.json: a\.nii\.gz of 'training' is the same image as {other}\.nii\.gz of 'test'\. Take it out"
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
def test_what_is_shared_otherwise_is_no_fault(tmp_path: Path, cases: dict[str, list[str]]) -> None:
    (different(tmp_path) / "dataset.json").write_text(json.dumps(cases), encoding="utf-8")
    assert len(load_cases(tmp_path, "training")) == len(cases["training"])


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
