"""A CT and its label must share one grid; the findings of both files are collected."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from i2net_bundle.checks.scans import check_volume, load_volume_pair, pair_findings
from i2net_bundle.io.findings import Severity
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.transforms import volume_reading
from tests.causes import message_of
from tests.checks.ct_files import AFFINE, CLASS_NAMES, ORGAN_AFFINE, hu_volume, label_volume, organ_labels, save

PLAIN = VolumeOptions()
KEYS = ("image", "label")
SHIFTED = AFFINE + np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 4.5], [0, 0, 0, 0]])
MIRRORED = AFFINE @ np.diag([1, -1, 1, 1.0])  # LAS, where the image is LPS

OTHER_GEOMETRY = pytest.mark.parametrize(
    ("label_affine", "apart_mm", "described"),
    [
        # the last row lies 9 * 2 mm before the first one instead of behind it
        (SHIFTED, "4.5", "LPS, spacing 2 x 2 x 3 mm, origin (30, 20, -55.5)"),
        (MIRRORED, "36.0", "LAS, spacing 2 x 2 x 3 mm, origin (30, 20, -60)"),
    ],
    ids=["shifted", "mirrored"],
)


def save_pair(folder: Path, label_affine: np.ndarray = AFFINE, **label_fields: float) -> dict[str, str]:
    """A CT and its label, voxel by voxel the same place whatever the label's header says."""
    return {
        "image": save(folder / "image.nii.gz", hu_volume()),
        "label": save(folder / "label.nii.gz", label_volume(), label_affine, **label_fields),
    }


def test_a_pair_on_one_grid_raises_no_finding(tmp_path: Path) -> None:
    pair = save_pair(tmp_path)
    assert check_volume(pair["image"], pair["label"], PLAIN) == []


def test_a_label_in_another_form_of_the_same_header_raises_no_finding(tmp_path: Path) -> None:
    pair = save_pair(tmp_path, sform_code=0)  # as those of BTCV
    assert check_volume(pair["image"], pair["label"], PLAIN) == []


@OTHER_GEOMETRY
def test_a_label_with_another_geometry_is_refused_and_both_are_printed(
    tmp_path: Path, label_affine: np.ndarray, apart_mm: str, described: str
) -> None:
    pair = save_pair(tmp_path, label_affine)
    (found,) = check_volume(pair["image"], pair["label"], PLAIN)
    assert (found.severity, found.rule, found.file) == (Severity.ERROR, "geometry", pair["label"])
    assert found.problem == (
        f"is {apart_mm} mm away from its image {pair['image']}: the image is LPS, spacing 2 x 2 x 3 mm, "
        f"origin (30, 20, -60); the label is {described}"
    )
    assert found.remedy == (
        "If the two match voxel by voxel, choose which header to use with geometry: image or geometry: label "
        "(--geometry of i2net); otherwise resample the label to the image's grid."
    )
    with pytest.raises(RuntimeError) as caught:
        volume_reading(KEYS)(pair)
    assert str(found) in message_of(caught.value)


@pytest.mark.parametrize("geometry", KEYS)
@OTHER_GEOMETRY
def test_the_chosen_header_is_used_for_both_with_a_warning(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    label_affine: np.ndarray,
    apart_mm: str,
    described: str,
    geometry: str,
) -> None:
    pair, options = save_pair(tmp_path, label_affine), VolumeOptions(geometry=geometry)
    (found,) = check_volume(pair["image"], pair["label"], options)
    assert (found.severity, found.file) == (Severity.WARNING, pair["label"])
    assert found.problem.startswith(f"is {apart_mm} mm away from its image {pair['image']}: ")
    assert found.remedy == f"The {geometry}'s header was used for both, as requested."
    with caplog.at_level(logging.WARNING, logger="i2net.checks"):
        read = volume_reading(KEYS, options)(pair)
    assert str(found) in caplog.messages
    stored = nib.load(pair[geometry]).affine
    image, label, _ = load_volume_pair(pair["image"], pair["label"], options)
    for array, loaded in ((hu_volume(), image), (label_volume(), label)):
        np.testing.assert_array_equal(loaded.dataobj, array)
        np.testing.assert_array_equal(loaded.affine, stored)
    np.testing.assert_array_equal(read["image"].affine, read["label"].affine)
    # wherever reading moves a voxel in the array, in space it stays where the chosen header puts it
    for key, array in (("image", hu_volume()), ("label", label_volume())):
        expected = nib.affines.apply_affine(stored, np.argwhere(array == array.max())).mean(0)
        moved = np.argwhere(read[key][0].numpy() == array.max())
        np.testing.assert_allclose(nib.affines.apply_affine(read[key].affine.numpy(), moved).mean(0), expected)
    np.testing.assert_array_equal(np.sort(read["image"], axis=None), np.sort(hu_volume(), axis=None))


def test_a_label_of_another_shape_is_refused_whatever_geometry_is_chosen(tmp_path: Path) -> None:
    image = save(tmp_path / "image.nii.gz", hu_volume())
    label = save(tmp_path / "label.nii.gz", label_volume((12, 10, 7)))
    for geometry in (None, *KEYS):
        (found,) = check_volume(image, label, VolumeOptions(geometry=geometry))
        assert str(found) == (
            f"{label}: has shape (12, 10, 7), its image {image} (12, 10, 8). "
            "Use the label that belongs to this image, on the same grid."
        )
        assert found.severity is Severity.ERROR


@pytest.mark.parametrize(("shift_mm", "count"), [(0.15, 0), (0.25, 1)], ids=["under", "over"])
def test_a_tenth_of_a_voxel_is_allowed_between_image_and_label(shift_mm: float, count: int) -> None:
    shifted = AFFINE.copy()
    shifted[0, 3] += shift_mm  # the smallest side is 2 mm
    image, label = nib.Nifti1Image(hu_volume(), AFFINE), nib.Nifti1Image(label_volume(), shifted)
    assert len(pair_findings("image", image, "label", label, PLAIN)) == count


@pytest.mark.parametrize(
    "fields",
    [{"sform_code": 0, "qform_code": 0}, {"pixdim1": 0.0}, {"pixdim1": np.nan}, {"qform_code": 0, "srow_z3": np.nan}],
    ids=["no orientation", "no spacing", "NaN spacing", "NaN affine"],
)
def test_a_label_with_an_unusable_header_can_use_that_of_its_image(tmp_path: Path, fields: dict[str, float]) -> None:
    pair = save_pair(tmp_path, **fields)
    (found,) = check_volume(pair["image"], pair["label"], PLAIN)
    assert (found.severity, found.file) == (Severity.ERROR, pair["label"])
    options = VolumeOptions(geometry="image")
    assert {found.severity for found in check_volume(pair["image"], pair["label"], options)} <= {Severity.WARNING}
    read = volume_reading(KEYS, options)(pair)
    np.testing.assert_array_equal(read["label"].affine, read["image"].affine)
    np.testing.assert_array_equal(read["label"].affine, volume_reading(("image",))(pair)["image"].affine)


def test_an_image_without_orientation_is_refused_whatever_geometry_is_chosen(tmp_path: Path) -> None:
    image = save(tmp_path / "image.nii.gz", hu_volume(), sform_code=0, qform_code=0)
    for geometry in (None, "image"):
        (found,) = check_volume(
            image, save(tmp_path / "label.nii.gz", label_volume()), VolumeOptions(geometry=geometry)
        )
        assert (found.severity, found.rule, found.file) == (Severity.ERROR, "no-orientation", image)


@pytest.mark.parametrize("mirrored", ["image", "label"])
def test_organs_are_judged_where_the_chosen_header_places_them(tmp_path: Path, mirrored: str) -> None:
    wrong = np.diag([-1.0, 1, 1, 1]) @ ORGAN_AFFINE
    affines = {key: wrong if key == mirrored else ORGAN_AFFINE for key in KEYS}
    labels = organ_labels()
    pair = {
        "image": save(tmp_path / "image.nii.gz", hu_volume(labels.shape), affines["image"]),
        "label": save(tmp_path / "label.nii.gz", labels, affines["label"]),
    }
    for geometry in KEYS:
        found = check_volume(pair["image"], pair["label"], VolumeOptions(geometry=geometry, classes=CLASS_NAMES))
        rules = ["geometry"] if geometry != mirrored else ["geometry", "organ-position"]
        assert sorted(finding.rule for finding in found) == rules


def test_faults_of_both_files_are_collected_and_none_is_raised(tmp_path: Path) -> None:
    image = save(tmp_path / "image.nii.gz", hu_volume() + np.int16(1024))
    label = save(tmp_path / "label.nii.gz", label_volume(), sform_code=0, qform_code=0)
    found = check_volume(image, label, PLAIN)
    assert [(finding.file, finding.rule) for finding in found] == [(image, "offset"), (label, "no-orientation")]


def test_missing_files_are_collected_too(tmp_path: Path) -> None:
    paths = [tmp_path / "image.nii.gz", tmp_path / "label.nii.gz"]
    assert [str(found) for found in check_volume(*paths, PLAIN)] == [
        f"{path}: cannot be opened (No such file or directory). Check the path." for path in paths
    ]


def test_an_image_is_checked_without_a_label(tmp_path: Path) -> None:
    assert check_volume(save(tmp_path / "image.nii.gz", hu_volume()), None, PLAIN) == []


def test_a_fault_reaches_the_user_through_reading_with_its_file_and_remedy(tmp_path: Path) -> None:
    image = save(tmp_path / "image.nii.gz", hu_volume() + np.int16(1024))
    with pytest.raises(RuntimeError) as caught:
        volume_reading(("image",))({"image": image})
    assert f"{image}: looks like HU + 1024: " in message_of(caught.value)
    assert "hu_offset: -1024" in message_of(caught.value)


@pytest.mark.parametrize("scan", ["abdomen_3mm", "abdomen_20slices"])
def test_real_scans_raise_no_finding(shared: Path, scan: str) -> None:
    files = [shared / "data" / "ct" / f"{scan}_{kind}.nii.gz" for kind in ("ct", "label8")]
    assert check_volume(*files, VolumeOptions(classes=CLASS_NAMES)) == []
