"""Data sets, folders and single files are checked as a whole; faults are reported, not raised."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from i2net_bundle.checks.dataset import CheckReport, check_path, report_json
from i2net_bundle.data.phantoms import make_ct_phantoms, make_gland_phantoms
from i2net_bundle.io.findings import Finding, error, errors, warning, warnings
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.prediction.inputs import find_inputs
from tests.checks.ct_files import hu_volume, label_volume, patch, save
from tests.io.dicom.files import OTHER_UID, two_series, write_ct, write_slice

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def ct_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training cases, one of validation, one of test."""
    return make_ct_phantoms(tmp_path_factory.mktemp("ct"), 2, 1, 1, (48, 48, 16), (8.0, 8.0, 15.0)).parent


@pytest.fixture(scope="module")
def gland_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training images, one of validation, one of test."""
    return make_gland_phantoms(tmp_path_factory.mktemp("glands"), 2, 1, 1, (64, 80)).parent


@pytest.fixture
def ct(ct_dir: Path, tmp_path: Path) -> Path:
    """A copy of the CT set to break."""
    return Path(shutil.copytree(ct_dir, tmp_path / "ct"))


@pytest.fixture
def glands(gland_dir: Path, tmp_path: Path) -> Path:
    """A copy of the gland set to break."""
    return Path(shutil.copytree(gland_dir, tmp_path / "glands"))


def edited(folder: Path, change: Change) -> Path:
    """The data set after a change of its data list."""
    contents = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    change(contents)
    return written(folder, contents)


def written(folder: Path, contents: Any) -> Path:
    (folder / "dataset.json").write_text(json.dumps(contents), encoding="utf-8")
    return folder


def files_of(folder: Path, split: str, index: int = 0) -> dict[str, Path]:
    case = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))[split][index]
    return {role: folder / case[role] for role in ("image", "label")}


def rules(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(finding.severity.value, finding.rule) for finding in findings]


# Data sets without a fault


@pytest.mark.parametrize("kind", ["ct_dir", "gland_dir"])
def test_a_sound_data_set_has_no_findings_and_counts_its_splits(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    report = check_path(folder)
    assert report.target == str(folder)
    assert report.cases == {"training": 2, "validation": 1, "test": 1}
    assert report.findings == []


def test_a_report_says_to_people_what_was_checked_what_was_found_and_how_much(gland_dir: Path) -> None:
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


def test_reports_are_json_for_programs(gland_dir: Path, glands: Path) -> None:
    files_of(glands, "test")["label"].write_bytes(b"")
    sound, broken = json.loads(report_json([check_path(gland_dir), check_path(glands)]))
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


def test_the_real_dicom_folder_is_sound(shared: Path) -> None:
    report = check_path(shared / "data" / "ct" / "abdomen_20slices_dicom")
    assert (report.cases, report.findings) == ({"DICOM series": 1}, [])


def test_every_series_of_a_tree_is_checked_as_prediction_finds_them(tmp_path: Path) -> None:
    write_ct(tmp_path / "portal")
    write_ct(tmp_path / "arterial", (0, 5, 20), uid=OTHER_UID)
    report = check_path(tmp_path, VolumeOptions(any_intensities=True))
    assert report.cases == {"DICOM series": 2}
    assert [(found.rule, found.file) for found in report.findings] == [("dicom-spacing", str(tmp_path / "arterial"))]
    assert [case["image"] for case in find_inputs([tmp_path], volumes=True)] == [
        str(tmp_path / "arterial"),
        str(tmp_path / "portal"),
    ]


def test_two_series_in_one_folder_are_an_error_that_lists_them(tmp_path: Path) -> None:
    write_ct(tmp_path)
    for number in range(3):
        write_slice(tmp_path / f"arterial{number}.dcm", (-3, -2, 5 * number), uid=OTHER_UID)
    report = check_path(tmp_path)
    assert report.cases == {"DICOM series": 1}
    (found,) = report.findings
    assert (found.severity, found.rule, found.file) == ("error", "dicom-series", str(tmp_path))
    assert "holds 2 series" in found.problem
    assert "1. CT, 4 slices" in found.remedy and "2. CT, 3 slices" in found.remedy


def test_the_voxels_of_a_dicom_folder_are_checked_and_a_series_can_be_chosen(tmp_path: Path) -> None:
    two_series(tmp_path)
    (found,) = check_path(tmp_path, VolumeOptions(series=OTHER_UID)).findings
    assert (found.severity, found.rule) == ("error", "normalised")
    assert "values run from 0 to 1" in found.problem  # of its two slices


def test_pictures_beside_a_dicom_series_are_skipped_with_a_warning(tmp_path: Path) -> None:
    write_ct(tmp_path / "disc")
    Image.new("RGB", (8, 8)).save(tmp_path / "disc" / "logo.png")
    report = check_path(tmp_path / "disc", VolumeOptions(any_intensities=True))
    assert report.cases == {"DICOM series": 1}
    (found,) = report.findings
    assert (found.severity, found.rule) == ("warning", "dicom-skipped")
    assert "(logo.png)" in found.problem


def test_a_path_that_does_not_exist_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=rf"^{tmp_path / 'absent'} does not exist\. Pass the folder of a data set"
    ):
        check_path(tmp_path / "absent")


@pytest.mark.parametrize("content", [[], ["notes.txt", "labels/a.npz"]], ids=["empty", "of other files"])
def test_a_folder_that_holds_nothing_known_is_named_with_what_was_looked_for(
    content: list[str], tmp_path: Path
) -> None:
    for name in content:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x" * 600, encoding="utf-8")
    message = rf"^{tmp_path} holds no fold_9\.json, no image and no DICOM series\. Pass the folder of a data set"
    with pytest.raises(FileNotFoundError, match=message):
        check_path(tmp_path, datalist="fold_9.json")


# What the data list says


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


def test_lists_of_keywords_and_sizes_are_no_cases(glands: Path) -> None:
    edited(glands, lambda contents: contents.update(keywords=["colon", "H&E"], size=[64, 80], classes=[{"id": 1}]))
    report = check_path(glands)
    assert (list(report.cases), report.findings) == (["training", "validation", "test"], [])


ORGANS = ["background", "aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach"]


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
    assert found[0].problem == "holds 8, which is no class; the classes are 0 to 7 (" + ", ".join(ORGANS[:-1]) + ")"


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


# One image in two splits


def into_test(folder: Path, name: str) -> Path:
    """List an image, without label, as the test case."""
    edited(folder, lambda contents: contents.update(test=[f"./{name}"]))
    return folder / name


def as_copy(source: Path, target: Path) -> None:
    shutil.copy(source, target)


def as_uncompressed(source: Path, target: Path) -> None:
    nib.save(nib.load(source), target)


def as_float(source: Path, target: Path) -> None:
    image = nib.load(source)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj, np.float32), image.affine), target)


def turned_to(orientation: str) -> Callable[[Path, Path], None]:
    def save_turned(source: Path, target: Path) -> None:
        image = nib.load(source)
        turn = nib.orientations.ornt_transform(
            nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(orientation)
        )
        nib.save(image.as_reoriented(turn), target)

    return save_turned


def as_picture(source: Path, target: Path) -> None:
    Image.open(source).save(target)


@pytest.mark.parametrize(
    ("kind", "name", "resave"),
    [
        ("ct", "other.nii.gz", as_copy),
        ("ct", "other.nii", as_uncompressed),
        ("ct", "other.nii.gz", as_float),
        ("ct", "other.nii.gz", turned_to("LPS")),
        ("ct", "other.nii.gz", turned_to("RAS")),
        ("ct", "other.nii.gz", turned_to("SPL")),
        ("glands", "other.png", as_copy),
        ("glands", "other.bmp", as_picture),
        ("glands", "other.tif", as_picture),
    ],
    ids=["copy", "uncompressed", "float", "LPS", "RAS", "SPL", "PNG copy", "PNG as BMP", "PNG as TIFF"],
)
def test_a_training_image_in_the_test_list_is_an_error_however_it_was_saved(
    kind: str, name: str, resave: Callable[[Path, Path], None], request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    source = files_of(folder, "training", 1)["image"]
    resave(source, into_test(folder, name))
    (found,) = check_path(folder).findings
    assert (found.severity, found.rule, found.file) == ("error", "shared-case", str(folder / name))
    assert found.problem == f"holds the same image as {source.name} of 'training', in 'test'"
    assert found.remedy.startswith("Remove it from one of them")


@pytest.mark.parametrize("split", ["validation", "test", "testA"])
@pytest.mark.parametrize("kind", ["ct", "glands"])
def test_a_file_listed_for_training_and_elsewhere_is_an_error(
    kind: str, split: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    edited(folder, lambda contents: contents.update({split: contents["training"][:1]}))
    (found,) = check_path(folder).findings
    image = files_of(folder, "training")["image"]
    assert (found.severity, found.rule, found.file) == ("error", "shared-case", str(image))
    assert f"in '{split}'" in found.problem


def test_shared_images_are_found_by_the_header_that_was_chosen_where_two_disagree(tmp_path: Path) -> None:
    other = np.diag([2.0, -2.0, 3.0, 1])
    for name in ("a", "b"):
        save(tmp_path / f"{name}.nii.gz", hu_volume(), qform=other)
        save(tmp_path / f"{name}_label.nii.gz", label_volume(), qform=other)
    cases = {name: [{"image": f"{name}.nii.gz", "label": f"{name}_label.nii.gz"}] for name in ("a", "b")}
    written(tmp_path, {"training": cases["a"], "test": cases["b"]})
    patch(tmp_path / "b.nii.gz", {"xyzt_units": 2})  # other bytes
    assert ("error", "sform-qform") in rules(check_path(tmp_path).findings)
    assert rules(check_path(tmp_path, VolumeOptions(header="qform")).findings) == [("error", "shared-case")]


@pytest.mark.parametrize("kind", ["ct", "glands"])
def test_images_that_differ_in_one_voxel_are_not_the_same(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    source = files_of(folder, "training")["image"]
    target = into_test(folder, f"other{''.join(source.suffixes)}")
    if kind == "ct":
        image = nib.load(source)
        voxels = np.asarray(image.dataobj).copy()
        voxels[3, 4, 5] += 1
        nib.save(nib.Nifti1Image(voxels, image.affine, image.header), target)
    else:
        pixels = np.array(Image.open(source))
        pixels[3, 4, 1] ^= 1
        Image.fromarray(pixels).save(target)
    assert check_path(folder).findings == []


@pytest.mark.parametrize("under", ["its own name", "another name"])
@pytest.mark.parametrize("kind", ["ct", "glands"])
def test_an_image_twice_in_one_list_is_a_warning(kind: str, under: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    files = files_of(folder, "training")
    image = files["image"]
    if under == "another name":
        image = image.with_name(f"again_{image.name}")
        shutil.copy(files["image"], image)
    entry = {"image": str(image.relative_to(folder)), "label": str(files["label"].relative_to(folder))}
    edited(folder, lambda contents: contents["training"].append(entry))
    (found,) = check_path(folder).findings
    assert (found.severity, found.rule, found.file) == ("warning", "repeated-case", str(image))
    assert found.problem == f"holds the same image as {files['image'].name} of 'training', in 'training'"
    assert found.remedy == "List it once in dataset.json."


@pytest.mark.parametrize("kind", ["ct", "glands"])
def test_validation_may_be_the_test_list(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    edited(folder, lambda contents: contents.update(validation=contents["test"]))
    report = check_path(folder)
    assert (report.cases["validation"], report.findings) == (1, [])


def test_images_that_cannot_be_read_are_not_compared(glands: Path) -> None:
    for split in ("training", "test"):
        files_of(glands, split)["image"].write_bytes(b"")
    found = check_path(glands).findings
    assert rules(found) == [("error", "image-unreadable")] * 2
    assert warnings(found) == []
