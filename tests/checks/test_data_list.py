"""The cases and class names of a data list are checked against its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2net_bundle.checks.dataset import check_path
from tests.checks.ct_files import CLASS_NAMES
from tests.checks.data_sets import edited, files_of, rules, written


@pytest.mark.parametrize("split", ["training", "validation"])
def test_a_case_without_label_is_an_error_where_labels_are_needed(glands: Path, split: str) -> None:
    edited(glands, lambda contents: contents[split][0].pop("label"))
    (found,) = check_path(glands).findings
    assert (found.severity, found.rule, found.file) == ("error", "no-label", str(glands / "dataset.json"))
    cases = 2 if split == "training" else 1
    assert found.problem == f"1 of {cases} '{split}' cases have no label"


def test_test_images_need_no_label_and_may_be_bare_names(glands: Path) -> None:
    edited(glands, lambda contents: contents.update(test=[case["image"] for case in contents["test"]]))
    report = check_path(glands)
    assert (report.cases["test"], report.findings) == (1, [])


@pytest.mark.parametrize("split", ["training", "test"])
@pytest.mark.parametrize("role", ["image", "label"])
@pytest.mark.parametrize("kind", ["ct", "glands"])
def test_files_that_do_not_exist_are_errors_that_name_them(
    kind: str, role: str, split: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    path = files_of(folder, split)[role]
    path.unlink()
    (found,) = check_path(folder).findings
    assert (found.severity, found.file) == ("error", str(path))
    assert found.problem == "cannot be opened (No such file or directory)"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"training": [', "is not valid JSON (Expecting value: line 1 column 15 (char 14))"),
        (b"", "is not valid JSON"),
        ('{"name": "Ärzte"}'.encode("latin-1"), "is not valid JSON ('utf-8' codec can't decode"),
        (b"[]", "is not a data list, which is an object with lists such as 'training'"),
        (b"{}", "lists no cases"),
        (b'{"training": []}', "lists no cases"),
        (b'{"training": [{"img": "a.png"}]}', "lists no cases"),
        (b'{"training": [{"image": "a.png"}, {"label": "b.png"}]}', "entry 2 of 'training' does not have the form"),
        (b'{"training": [{"image": "a.png", "label": null}]}', "entry 1 of 'training' does not have the form"),
        (b'{"test": ["a.png", 7]}', "entry 2 of 'test' does not have the form"),
    ],
    ids=["cut off", "empty", "Latin-1", "a list", "no list", "empty list", "other key", "no image", "null", "number"],
)
def test_a_broken_data_list_is_an_error_that_says_what_is_wrong(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "dataset.json").write_bytes(content)
    (found,) = check_path(tmp_path).findings
    assert (found.severity, found.rule, found.file) == ("error", "datalist", str(tmp_path / "dataset.json"))
    assert found.problem.startswith(problem)
    assert found.remedy.startswith(("Correct it", "Add lists"))


def test_lists_of_keywords_and_sizes_are_not_cases(glands: Path) -> None:
    edited(glands, lambda contents: contents.update(keywords=["colon", "H&E"], size=[64, 80], classes=[{"id": 1}]))
    report = check_path(glands)
    assert (list(report.cases), report.findings) == (["training", "validation", "test"], [])


ORGANS = list(CLASS_NAMES)


@pytest.mark.parametrize(
    "labels",
    [
        lambda names: {str(index): name for index, name in enumerate(names)},
        lambda names: {name: index for index, name in enumerate(names)},
    ],
    ids=["ids to names, as the Decathlon", "names to ids, as nnU-Net"],
)
def test_labels_beyond_the_declared_names_are_refused(ct: Path, labels: Callable[[list[str]], dict]) -> None:
    edited(ct, lambda contents: contents.update(labels=labels(ORGANS)))
    assert check_path(ct).findings == []
    edited(ct, lambda contents: contents.update(labels=labels(ORGANS[:-1])))
    found = check_path(ct).findings
    assert rules(found) == [("error", "labels")] * 4
    assert found[0].file == str(files_of(ct, "training")["label"])
    assert found[0].problem == "contains 8, which is no class; the classes are 0 to 7 (" + ", ".join(ORGANS[:-1]) + ")"


def test_without_declared_names_any_label_passes_and_the_report_says_so(ct: Path) -> None:
    edited(ct, lambda contents: contents.update(labels=None))
    report = check_path(ct)
    assert report.findings == []
    assert "classes: not named; add labels to the data list, or choose a table with --labels" in report.text()


def test_organs_are_judged_by_the_declared_names(ct: Path) -> None:
    swapped = ORGANS.copy()
    swapped[3], swapped[4] = swapped[4], swapped[3]
    edited(ct, lambda contents: contents.update(labels={str(index): name for index, name in enumerate(swapped)}))
    found = check_path(ct).findings
    assert {finding.severity for finding in found} == {"warning"}
    assert "right kidney" in found[0].problem
    assert found[0].rule == "organ-position"


def write_street_scenes(folder: Path, **header: Any) -> Path:
    """Three images with class ids; 255 in every label."""
    folder.mkdir()
    names = ["aachen", "bochum", "lindau"]
    ids = np.array([[255, 0, 2], [1, 255, 0]], np.uint8)
    for index, name in enumerate(names):
        noise = np.random.default_rng(index).integers(0, 256, (2, 3, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{name}.png")
        Image.fromarray(ids).save(folder / f"{name}_ids.png")
    cases = [{"image": f"./{name}.png", "label": f"./{name}_ids.png"} for name in names]
    labels = {"0": "road", "1": "sky", "2": "car"}
    return written(folder, {"labels": labels, **header, "training": cases[:2], "validation": cases[2:]})


def test_255_is_allowed_where_the_data_list_declares_it_to_be_ignored(tmp_path: Path) -> None:
    folder = write_street_scenes(tmp_path / "streets", ignore_id=255)
    Image.fromarray(np.array([[255, 0, 255], [0, 255, 0]], np.uint8)).save(folder / "bochum_ids.png")
    assert check_path(folder).findings == []
    edited(folder, lambda contents: contents.pop("ignore_id"))
    found = check_path(folder).findings
    assert rules(found) == [("error", "mask-values")] * 3
    assert "looks binary" in found[1].problem
    assert "but the classes are 0 to 2" in found[0].problem
