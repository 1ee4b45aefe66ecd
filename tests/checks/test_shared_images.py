"""An image in two splits is an error, and one listed twice in a split a warning."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from i2net_bundle.checks.dataset import check_path
from i2net_bundle.io.findings import warnings
from i2net_bundle.io.options import VolumeOptions
from tests.checks.ct_files import hu_volume, label_volume, patch, save
from tests.checks.data_sets import edited, files_of, rules, written


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
    assert found.problem == f"contains the same image as {source.name} of 'training', in 'test'"
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
    assert found.problem == f"contains the same image as {files['image'].name} of 'training', in 'training'"
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
