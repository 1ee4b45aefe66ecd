"""Lists and patterns stand for the images that they name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from i2net_bundle.prediction.input_lists import named_paths
from i2net_bundle.prediction.inputs import find_inputs
from tests.checks.ct_files import hu_volume, save


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for name in ("p1/ct.nii.gz", "p2/ct.nii.gz", "p2/notes.md", "p2/old/ct.nii.gz"):
        (tmp_path / "scans" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "scans" / name).touch()
    return tmp_path / "scans"


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


TWO = ["p1/ct.nii.gz", "p2/ct.nii.gz"]


@pytest.mark.parametrize(
    ("name", "content", "column"),
    [
        ("cases.txt", "# two cases\np1/ct.nii.gz\n\n  p2/ct.nii.gz\n", None),
        ("cases.csv", '\ufeffpatient,image\n1,p1/ct.nii.gz\n2,"p2/ct.nii.gz"\n', None),
        ("cases.csv", "patient, scan\n1,p1/ct.nii.gz\n2,p2/ct.nii.gz\n", "scan"),
        ("cases.json", json.dumps(TWO), None),
        ("cases.json", json.dumps([{"image": TWO[0]}, {"image": [TWO[1]]}]), None),
        ("CASES.JSON", json.dumps([{"scan": name} for name in TWO]), "scan"),
    ],
    ids=["text", "CSV", "CSV, other column", "JSON", "JSON objects", "JSON, other key"],
)
def test_a_list_names_images_relative_to_its_folder(scans: Path, name: str, content: str, column: str | None) -> None:
    listed = write(scans / name, content)
    cases = find_inputs([listed], volumes=True, column=column)
    assert [case["image"] for case in cases] == [str(scans / name) for name in TWO]
    assert [case["case"] for case in cases] == ["p1_ct", "p2_ct"]


def test_a_list_of_folders_gives_their_images(scans: Path) -> None:
    listed = write(scans / "cases.txt", "p2\n")
    assert len(find_inputs([listed], volumes=True)) == 2


@pytest.mark.parametrize(
    ("pattern", "count"), [("*/ct.nii.gz", 2), ("**/ct.nii.gz", 3), ("p2/*.nii.gz", 1), ("p?", 3), ("p[1]", 1)]
)
def test_a_pattern_matches_images_and_folders(scans: Path, pattern: str, count: int) -> None:
    assert len(find_inputs([f"{scans}/{pattern}"], volumes=True)) == count


def test_a_name_with_brackets_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "scan[1].nii.gz").touch()
    assert len(find_inputs([tmp_path / "scan[1].nii.gz"], volumes=True)) == 1


def test_files_that_match_and_are_no_images_are_reported(scans: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(find_inputs([f"{scans}/p2/*"], volumes=True)) == 2
    assert "skips 1 file that is no image" in caplog.text


def test_results_that_match_a_pattern_are_not_inputs(scans: Path) -> None:
    out = scans / "p2" / "out"
    out.mkdir()
    (out / "ct_mask.nii.gz").touch()
    assert len(find_inputs([f"{scans}/**/*.nii.gz"], volumes=True, out_dir=out)) == 3
    with pytest.raises(FileNotFoundError, match="No input names an image outside the output folder"):
        find_inputs([f"{out}/*.nii.gz"], volumes=True, out_dir=out)


def test_a_missing_image_of_a_list_is_a_case(scans: Path) -> None:
    listed = write(scans / "cases.txt", "p1/ct.nii.gz\np9/ct.nii.gz\n")
    assert [case["case"] for case in find_inputs([listed], volumes=True)] == ["p1_ct", "p9_ct"]


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        (
            "a.csv",
            "patient,scan\n1,p1/ct.nii.gz\n",
            None,
            r"a\.csv has no column 'image'; its columns are patient, scan",
        ),
        ("a.csv", "image\n\n", None, r"a\.csv names no image"),
        ("a.csv", "patient,image\n1\n", None, r"a\.csv, line 2: names no image"),
        ("a.csv", 'image\n"' + "a" * 200_000 + "\n", None, r"a\.csv is not valid CSV \(field larger"),
        ("a.txt", "# nothing\n", None, r"a\.txt names no image\. Add their paths"),
        ("a.txt", "p9\n", None, r"a\.txt, line 1: .*p9 does not exist"),
        ("a.txt", "p1\0/ct.nii.gz\n", None, r"a\.txt, line 1: names no image"),
        ("a.txt", "p1/ct.nii.gz\n", "scan", "--column is for lists in CSV or JSON"),
        ("a.json", "{", None, r"a\.json is not valid JSON"),
        ("a.json", "[" * 100_000, None, r"a\.json is not valid JSON"),
        ("a.json", '{"test": []}', None, r"a\.json is no list of images"),
        ("a.json", '[{"scan": "a.nii.gz"}]', None, r"a\.json, item 1: has no 'image'"),
        ("a.json", '["a.nii.gz", 3]', None, r"a\.json, item 2: names no image"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(
    scans: Path, name: str, content: str, column: str | None, message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find_inputs([write(scans / name, content)], volumes=True, column=column)


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="it is not text in UTF-8"):
        named_paths([tmp_path / "a.txt"])


def test_a_list_of_enormous_size_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(ValueError, match="has more than 64 MB"):
        named_paths([tmp_path / "a.txt"])


def test_a_pattern_without_a_match_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"\*\.nii\.gz matches no image or folder"):
        find_inputs([f"{tmp_path}/*.nii.gz"], volumes=True)


def test_many_cases_are_named_quickly(tmp_path: Path) -> None:
    save(tmp_path / "ct.nii.gz", hu_volume((4, 4, 2)))
    names = [f"p{number // 100}/s{number % 100}/ct.nii.gz" for number in range(2000)]
    cases = find_inputs([write(tmp_path / "cases.txt", "\n".join(names))], volumes=True)
    assert len({case["case"] for case in cases}) == 2000
