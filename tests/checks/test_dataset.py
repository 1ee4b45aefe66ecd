"""Data sets, folders and single files are checked as a whole; faults are reported, not raised."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from i2net_bundle.checks.dataset import CheckReport, check_path
from i2net_bundle.io.findings import error, errors, warning
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from tests.checks.data_sets import files_of, rules, written

# Data sets


@pytest.mark.parametrize("kind", ["ct_dir", "gland_dir"])
def test_a_sound_data_set_has_no_findings_and_counts_its_splits(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    report = check_path(folder)
    assert report.target == str(folder)
    assert report.cases == {"training": 2, "validation": 1, "test": 1}
    assert report.findings == []


def test_a_report_as_text_lists_what_was_checked_and_found(gland_dir: Path) -> None:
    sound = f"{gland_dir}: 2 training, 1 validation, 1 test checked\n"
    sound += "channels: R, G, B\nclasses: 0 background, 1 gland\n0 errors, 0 warnings"
    assert check_path(gland_dir).text() == sound
    found = [
        warning("units", "a.nii.gz", "is in metres", "Check it."),
        error("empty", "b.nii.gz", "is empty", "Download it again."),
    ]
    assert CheckReport("set", {}, found).text() == (
        "set: nothing checked\n"
        "WARNING [units] a.nii.gz: is in metres. Check it.\n"
        "ERROR   [empty] b.nii.gz: is empty. Download it again.\n"
        "1 error, 1 warning"
    )


def test_reports_can_be_written_as_json(gland_dir: Path, glands: Path) -> None:
    files_of(glands, "test")["label"].write_bytes(b"")
    sound, broken = json.loads(json.dumps([check_path(gland_dir).json(), check_path(glands).json()]))
    cases = {"training": 2, "validation": 1, "test": 1}
    assert sound == {
        "target": str(gland_dir),
        "cases": cases,
        "classes": ["background", "gland"],
        "channels": ["R", "G", "B"],
        "errors": 0,
        "warnings": 0,
        "findings": [],
    }
    assert (broken["errors"], broken["warnings"]) == (1, 0)
    assert broken["findings"] == [
        {
            "severity": "error",
            "rule": "image-unreadable",
            "file": str(files_of(glands, "test")["label"]),
            "problem": "is empty",
            "remedy": "Download or export it again.",
        }
    ]


def test_checking_prints_nothing_and_writes_nothing_into_the_data_set(
    glands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(glands.rglob("*"))
    check_path(glands)
    assert capsys.readouterr().out == ""
    assert sorted(glands.rglob("*")) == before


def test_another_data_list_of_the_folder_can_be_checked(glands: Path) -> None:
    contents = json.loads((glands / "dataset.json").read_text(encoding="utf-8"))
    (glands / "fold_0.json").write_text(json.dumps({"training": contents["training"][:1]}), encoding="utf-8")
    assert check_path(glands, datalist="fold_0.json").cases == {"training": 1}


def test_options_for_ct_reach_the_files_of_a_data_set(ct: Path) -> None:
    path = files_of(ct, "test")["image"]
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + np.int16(1024), image.affine, image.header), path)
    written(ct, {"test": json.loads((ct / "dataset.json").read_text(encoding="utf-8"))["test"]})
    assert rules(check_path(ct).findings) == [("error", "offset")]
    assert check_path(ct, VolumeOptions(hu_offset=-1024)).findings == []


def test_options_for_histology_reach_the_files_of_a_data_set(glands: Path) -> None:
    label = files_of(glands, "training")["label"]
    mask = np.where(np.asarray(Image.open(label)) > 0, 255, 0).astype(np.uint8)
    for split, index in (("training", 0), ("training", 1), ("validation", 0), ("test", 0)):
        Image.fromarray(mask).save(files_of(glands, split, index)["label"])
    assert rules(check_path(glands).findings) == [("error", "mask-values")] * 4
    assert check_path(glands, histology=HistologyOptions(label_values="binary")).findings == []


# Single files and folders


@pytest.mark.parametrize("kind", ["ct_dir", "gland_dir"], ids=["NIfTI", "PNG"])
def test_a_single_image_is_checked(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    image = files_of(request.getfixturevalue(kind), "training")["image"]
    report = check_path(image)
    assert (report.cases, report.findings) == ({"files": 1}, [])
    broken = tmp_path / image.name
    broken.write_bytes(image.read_bytes()[:1000])
    (found,) = errors(check_path(broken).findings)
    assert found.file == str(broken)


@pytest.fixture
def glas_like(gland_dir: Path, tmp_path: Path) -> Path:
    """A folder of images with their annotations beside them, as GlaS has them."""
    (tmp_path / "glas").mkdir()
    for split, index in (("training", 0), ("training", 1), ("test", 0)):
        files = files_of(gland_dir, split, index)
        for role, end in (("image", ""), ("label", "_anno")):
            shutil.copy(files[role], tmp_path / "glas" / f"{files['image'].stem}{end}.png")
    return tmp_path / "glas"


def test_a_folder_of_images_is_checked_with_the_annotations_beside_them(glas_like: Path) -> None:
    report = check_path(glas_like)
    assert (report.cases, report.findings) == ({"files": 3}, [])
    annotation = glas_like / "train_2_anno.png"
    Image.fromarray(np.asarray(Image.open(annotation))[:-1]).save(annotation)
    (found,) = check_path(glas_like).findings
    assert (found.severity, found.rule, found.file) == ("error", "mask-size", str(annotation))


def test_a_folder_of_images_without_annotations_is_checked(glas_like: Path) -> None:
    for annotation in glas_like.glob("*_anno.png"):
        annotation.unlink()
    (glas_like / "train_1.png").write_bytes(b"<html>log in</html>")
    report = check_path(glas_like)
    assert report.cases == {"files": 3}
    assert rules(report.findings) == [("error", "image-unreadable")]


@pytest.mark.slow
def test_the_real_glas_folder_is_sound(shared: Path) -> None:
    report = check_path(shared / "data" / "glas")
    assert (report.cases, report.findings) == ({"files": 85}, [])


def test_a_path_that_does_not_exist_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=rf"^{tmp_path / 'absent'} does not exist\. Pass the folder of a data set"
    ):
        check_path(tmp_path / "absent")


@pytest.mark.parametrize("content", [[], ["notes.txt", "labels/a.npz"]], ids=["empty", "of other files"])
def test_a_folder_without_known_files_is_refused_with_what_was_expected(content: list[str], tmp_path: Path) -> None:
    for name in content:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x" * 600, encoding="utf-8")
    message = rf"^{tmp_path} contains no fold_9\.json, no image and no DICOM series\. Pass the folder of a data set"
    with pytest.raises(FileNotFoundError, match=message):
        check_path(tmp_path, datalist="fold_9.json")
