"""One page per output folder; what cannot be shown is said, and nothing of a file becomes markup."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from i2net_bundle.cli import main
from i2net_bundle.labels import classes_of
from i2net_bundle.prediction.cohort_record import PAGE, CaseRecord, CohortRecord
from i2net_bundle.prediction.prediction_folder import read_prediction_folder
from i2net_bundle.reports.viewer.view_page import write_view
from tests.reports.viewer.predictions import body, write_slides, write_volumes


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the images and the output folder of one volume."""
    return write_volumes(tmp_path_factory.mktemp("original"), {"case": body()[1]}).parent


@pytest.fixture
def out(original: Path, tmp_path: Path) -> Path:
    """Output folder of one volume, a copy beside its image."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    cases = tmp_path / "out" / "cases.jsonl"
    cases.write_text(cases.read_text().replace(str(original), str(tmp_path)))
    return tmp_path / "out"


def text_of(page: Path) -> str:
    """The page without its scripts and styles, as a reader sees it."""
    text = re.sub(r"<(script|style).*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return unescape(text)


def has_data(page: Path) -> bool:
    return 'id="data-0-image"' in page.read_text(encoding="utf-8")


def change_record(out: Path, **values: Any) -> None:
    """Change entries of ``prediction.json``."""
    path = out / "prediction.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}), encoding="utf-8")


def change_case(out: Path, **values: Any) -> None:
    """Change entries of the only line of ``cases.jsonl``."""
    path = out / "cases.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}) + "\n", encoding="utf-8")


# The page


def test_the_page_has_the_statistics_and_marks_what_is_implausible(out: Path) -> None:
    page = write_view(out)
    assert page == out / "view.html"
    text = text_of(page)
    liver = 10 * 12 * 8 * 3 * 4 * 5 / 1000
    assert f'<th scope="row">liver</th><td class="marked"><span aria-hidden="true">⚠ </span>{liver:.1f}</td>' in text
    assert "500 to 4500" in text and "100 ± 0" in text
    assert "implausible prediction: liver of 58 mL; the usual range is 500 to 4500 mL" in text
    assert '<th scope="row">aorta</th><td>not predicted</td>' in text


def test_the_page_names_the_weights_with_the_terms_of_their_data(out: Path) -> None:
    text = text_of(write_view(out))
    assert "<td>a test, 3 cases</td><td>CC0-1.0</td>" in text and "ab" * 32 in text


def test_the_page_names_no_folder_of_this_computer(out: Path) -> None:
    text = write_view(out).read_text(encoding="utf-8")
    assert str(out.parent) not in text and str(Path.home()) not in text


def test_the_page_contains_the_licence_of_the_viewer(out: Path) -> None:
    assert "Copyright (c) 2021, Niivue" in text_of(write_view(out))


def test_failed_images_and_an_unfinished_prediction_are_listed(out: Path) -> None:
    failed = CaseRecord("other", "other.nii.gz", "failed", reason="other.nii.gz: is truncated")
    with (out / "cases.jsonl").open("a") as file:
        file.write(json.dumps(failed.as_json()) + "\n")
    change_record(out, complete=False)
    text = text_of(write_view(out))
    assert "1 segmented image, 1 failed" in text and "other.nii.gz: is truncated" in text
    assert "The prediction was not finished" in text


def test_names_from_files_stay_text(tmp_path: Path) -> None:
    name = "</script><img src=x onerror=alert(1)>"
    classes = classes_of(["background", name, "spleen", "aorta"])
    page = write_view(write_volumes(tmp_path, {"a&b": body()[1]}, classes=classes)).read_text(encoding="utf-8")
    assert name not in page and "<img src=x" not in page
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in page and "\\u003c/script\\u003e" in page


def test_glands_have_their_count_and_areas(tmp_path: Path) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[5:25, 5:35], mask[30:50, 40:60] = 1, 1
    text = text_of(write_view(write_slides(tmp_path, {"slide": mask})))
    assert '<th scope="row">objects of at least 200 pixels</th><td>2</td>' in text
    assert f'<th scope="row">median area, µm²</th><td>{(600 + 400) / 2 * 0.25:.0f}</td>' in text


# What is overwritten


def test_a_page_is_replaced_only_on_request(out: Path, tmp_path: Path) -> None:
    write_view(out)
    with pytest.raises(FileExistsError, match=r"view\.html exists\. Replace it with --overwrite"):
        write_view(out)
    assert write_view(out, overwrite=True) == out / PAGE
    assert write_view(out, tmp_path / "elsewhere.html").is_file()


def test_a_page_is_removed_when_a_result_changes(out: Path) -> None:
    write_view(out)
    record = CohortRecord(out, {}, resume=False)
    assert not (out / PAGE).exists()
    (out / PAGE).touch()
    record.add(CaseRecord("new", "new.nii.gz", "ok"))
    assert not (out / PAGE).exists()


# What cannot be shown


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"contains no prediction\.json\. Pass the output folder"):
        write_view(tmp_path)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"task": "ct", "class_names": 5}', '{"task": "x", "class_names": ["a"]}']
)
def test_a_damaged_record_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "prediction.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"prediction\.json is damaged"):
        write_view(tmp_path)


def test_images_that_moved_are_found_among_the_inputs(out: Path, tmp_path: Path) -> None:
    shutil.move(tmp_path / "images", tmp_path / "moved")
    page = write_view(out)
    assert not has_data(page) and "its image was not found. Run the command in the folder where" in text_of(page)
    assert "data:image/webp" in page.read_text(encoding="utf-8")  # the static picture
    assert has_data(write_view(out, inputs=[tmp_path / "moved"], overwrite=True))


def test_an_image_that_changed_is_not_shown_under_the_mask(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "images" / "case.nii.gz"
    path.write_bytes(path.read_bytes() + b"\0")
    page = write_view(out)
    assert not has_data(page) and "its image has changed since the prediction" in text_of(page)


def test_a_mask_on_another_grid_is_not_shown(out: Path) -> None:
    path = out / "case_mask.nii.gz"
    mask = nib.load(path)
    nib.Nifti1Image(np.asarray(mask.dataobj)[:-1], mask.affine).to_filename(path)
    page = write_view(out)
    assert not has_data(page) and "has shape (39, 36, 24), its image" in text_of(page)


def test_a_mask_of_unknown_classes_is_not_shown(out: Path) -> None:
    path = out / "case_mask.nii.gz"
    mask = nib.load(path)
    nib.Nifti1Image(np.asarray(mask.dataobj) * np.uint8(7), mask.affine).to_filename(path)
    assert "its mask contains class 14, and there are 4 classes" in text_of(write_view(out))


@pytest.mark.parametrize("name", ["../images/other_mask.nii.gz", "/etc/other_mask.nii.gz"])
def test_a_record_cannot_name_a_mask_outside_the_folder(name: str, out: Path) -> None:
    change_case(out, files=[name])
    assert "its record names a mask outside the folder" in text_of(write_view(out))


def test_a_missing_mask_is_named(out: Path) -> None:
    (out / "case_mask.nii.gz").unlink()
    assert "its mask case_mask.nii.gz is missing" in text_of(write_view(out))


def test_a_record_with_unexpected_values_gives_a_page(out: Path) -> None:
    change_case(out, statistics={"liver": {"volume_ml": "<b>", "mean_hu": None}, "spleen": 3}, implausible=[1])
    text = text_of(write_view(out))
    assert (
        '<th scope="row">liver</th><td>–</td>' in text and '<th scope="row">spleen</th><td>not predicted</td>' in text
    )


def test_beyond_the_limit_further_cases_have_their_static_picture(tmp_path: Path) -> None:
    _, mask = body()
    out = write_volumes(tmp_path, {"first": mask, "second": mask}, noise_hu=100)
    whole = write_view(out).stat().st_size
    page = write_view(out, overwrite=True, most_mb=(whole - 20_000) / 1e6)  # the data of a case exceed 30 kB
    content = page.read_text(encoding="utf-8")
    assert 'id="data-0-image"' in content and 'id="data-1-image"' not in content
    assert "Raise it with --max-mb, or write a page for fewer images" in text_of(page)


def test_an_older_record_without_classes_takes_them_from_the_tables(out: Path) -> None:
    record = json.loads((out / "prediction.json").read_text())
    del record["classes"]
    (out / "prediction.json").write_text(json.dumps(record))
    assert [item.color for item in read_prediction_folder(out).classes[1:]] == ["#0072B2", "#CC79A7", "#E69F00"]


# The command


def test_the_command_prints_the_page(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["view", str(out), str(tmp_path / "images"), "--page", str(tmp_path / "page.html")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    with pytest.raises(SystemExit, match=r"page\.html exists\. Replace it with --overwrite"):
        main(["view", str(out), "--page", str(tmp_path / "page.html")])
