"""Which cases a data set has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from i2net_bundle.data import list_images, load_cases


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
    assert all(case.keys() == {"image", "label"} for case in found)
    assert all(Path(path).is_file() for case in found for path in case.values())


def test_splits_share_no_file(ct_dir: Path) -> None:
    files = [
        path for split in ("training", "validation", "test") for c in load_cases(ct_dir, split) for path in c.values()
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
        ({"image"}, n) for n in ("a.nii.gz", "b.nii.gz")
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
