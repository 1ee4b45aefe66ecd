"""A CT and its label are read as HU and classes on one grid, or refused with the file, the fault and the remedy."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from i2net_bundle.checks.scans import check_volume, load_volume, load_volume_label, load_volume_pair, pair_findings
from i2net_bundle.io.findings import DataError, Finding, Severity
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.transforms import volume_preprocessing, volume_reading
from tests.checks.ct_files import AFFINE, CLASS_NAMES, ORGAN_AFFINE, hu_volume, label_volume, organ_labels, save

PLAIN = VolumeOptions()
KEYS = ("image", "label")
MAP_REMEDY = (
    "Correct the labels of the data list, or renumber the mask; `i2net prepare` does it for declared numberings."
)
CLASSES = f"the classes are 0 to 8 ({', '.join(CLASS_NAMES)})"
GO_ON = "If these are Hounsfield units after all, set any_intensities (--any-intensities)."

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


def refusal(load: Callable[..., Any], path: str, options: VolumeOptions = PLAIN) -> Finding:
    """The one error that a file is refused with."""
    with pytest.raises(DataError) as caught:
        load(path, options)
    (finding,) = caught.value.findings
    assert (finding.severity, finding.file) == (Severity.ERROR, path)
    assert str(caught.value) == f"{path}: {finding.problem}. {finding.remedy}"
    return finding


def save_pair(folder: Path, label_affine: np.ndarray = AFFINE, **label_fields: float) -> dict[str, str]:
    """A CT and its label, voxel by voxel the same place whatever the label's header says."""
    return {
        "image": save(folder / "image.nii.gz", hu_volume()),
        "label": save(folder / "label.nii.gz", label_volume(), label_affine, **label_fields),
    }


def message_of(error: BaseException | None) -> str:
    """What MONAI's wrappers say, down to the first cause."""
    return "" if error is None else f"{error}\n{message_of(error.__cause__)}"


# Options


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"header": "affine"}, r"^header must be sform or qform, got 'affine'\.$"),
        ({"geometry": "both"}, r"^geometry must be image or label, got 'both'\.$"),
    ],
    ids=["header", "geometry"],
)
def test_options_take_no_other_values(values: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VolumeOptions(**values)


def test_class_names_of_a_configuration_become_a_tuple() -> None:
    options = VolumeOptions(classes=["background", "liver"])  # type: ignore[arg-type]
    assert options.class_names == ("background", "liver")
    assert options == VolumeOptions(classes=("background", "liver"))


# CT


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_a_ct_is_read_as_it_is_without_a_word(tmp_path: Path, suffix: str) -> None:
    image, findings = load_volume(save(tmp_path / f"ct{suffix}", hu_volume()), PLAIN)
    assert findings == []
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(image.dataobj, hu_volume())
    np.testing.assert_array_equal(image.affine, AFFINE)


@pytest.mark.parametrize(
    ("change", "dtype"),
    [
        (lambda hu: hu.astype(np.float64), np.int16),
        (lambda hu: hu + 0.25, np.float32),
        (lambda hu: np.where(hu > 60, np.int32(40000), hu), np.float32),
    ],
    ids=["whole numbers stored as floats", "fractions", "beyond 16 bits"],
)
def test_hu_are_kept_as_16_bit_integers_only_where_nothing_is_lost(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], dtype: type
) -> None:
    hu = change(hu_volume())
    image, _ = load_volume(save(tmp_path / "ct.nii.gz", hu), VolumeOptions(any_intensities=True))
    assert np.asarray(image.dataobj).dtype == dtype
    np.testing.assert_array_equal(image.dataobj, hu)


def test_slope_and_intercept_give_hu(tmp_path: Path) -> None:
    hu = hu_volume() + 0.5
    path = save(tmp_path / "ct.nii.gz", ((hu + 1024) * 2).astype(np.int16), scl_slope=0.5, scl_inter=-1024)
    image, findings = load_volume(path, PLAIN)
    assert findings == []
    np.testing.assert_array_equal(image.dataobj, hu)


def test_hu_with_an_offset_are_refused_until_it_is_given(tmp_path: Path) -> None:
    path = save(tmp_path / "ct.nii.gz", np.clip(hu_volume() + 1024, 0, None).astype(np.int16))
    found = refusal(load_volume, path)
    assert found.rule == "offset"
    assert found.problem.startswith("looks like HU + 1024: values run from 0 to 1")
    assert found.remedy == f"Shift it with hu_offset: -1024 (--hu-offset -1024). {GO_ON}"
    image, findings = load_volume(path, VolumeOptions(hu_offset=-1024))
    assert findings == []
    np.testing.assert_array_equal(image.dataobj, np.clip(hu_volume(), -1024, None))


def test_voxels_without_a_finite_value_are_refused_until_a_filling_is_given(tmp_path: Path) -> None:
    voxels = hu_volume().astype(np.float32)
    voxels[0, 0, :2], voxels[1, 0, 0], voxels[2, 0, 0] = np.nan, np.inf, -np.inf
    path = save(tmp_path / "ct.nii.gz", voxels)
    assert str(refusal(load_volume, path)) == (
        f"{path}: holds 2 NaN and 2 infinite voxels of 960. Convert the scan again, or fill them with "
        "fill_nonfinite: -1024 (--fill-nonfinite -1024)."
    )
    image, (found,) = load_volume(path, VolumeOptions(fill_nonfinite=-1024))
    assert found.severity is Severity.WARNING
    assert str(found) == (
        f"{path}: 4 voxels without a finite value were filled with -1024 HU. Check that they lie outside the body."
    )
    np.testing.assert_array_equal(image.dataobj, np.where(np.isfinite(voxels), voxels, -1024))


def test_a_filling_changes_nothing_in_a_file_that_needs_none(tmp_path: Path) -> None:
    path = save(tmp_path / "ct.nii.gz", hu_volume().astype(np.float32))
    assert load_volume(path, VolumeOptions(fill_nonfinite=-1024))[1] == []


def test_any_intensities_are_read_where_the_user_says_so(tmp_path: Path) -> None:
    voxels = (np.clip(hu_volume() + 125.0, 0, 400) / 400).astype(np.float32)
    path = save(tmp_path / "ct.nii.gz", voxels)
    assert refusal(load_volume, path).remedy == f"Use the CT in Hounsfield units. {GO_ON}"
    image, findings = load_volume(path, VolumeOptions(any_intensities=True))
    assert findings == []
    np.testing.assert_array_equal(image.dataobj, voxels)


@pytest.mark.parametrize("padding", [-2000, -3024])
def test_padding_outside_the_scanner_circle_is_clipped_by_the_window(tmp_path: Path, padding: int) -> None:
    hu = hu_volume()
    hu[:3] = padding
    path = save(tmp_path / "ct.nii.gz", hu)
    image, findings = load_volume(path, PLAIN)
    assert findings == []
    np.testing.assert_array_equal(image.dataobj, hu)
    seen = volume_preprocessing(("image",))({"image": path})["image"]  # voxels (P, L, S) of a file in LPS
    assert seen[0, :, :3].max() == 0 == seen.min()
    assert seen.max() > 0


def test_the_chosen_volume_is_judged_alone(tmp_path: Path) -> None:
    volumes = np.stack([hu_volume() + 1024, hu_volume()], axis=-1)
    path = save(tmp_path / "ct.nii.gz", volumes)
    assert refusal(load_volume, path).rule == "4d"
    assert refusal(load_volume, path, VolumeOptions(volume=0)).rule == "offset"
    image, findings = load_volume(path, VolumeOptions(volume=1))
    assert findings == []
    np.testing.assert_array_equal(image.dataobj, hu_volume())


def test_a_slice_passes_with_its_label(tmp_path: Path) -> None:
    image = save(tmp_path / "image.nii.gz", hu_volume()[:, :, 0])
    label = save(tmp_path / "label.nii.gz", label_volume()[:, :, 0])
    assert check_volume(image, label, PLAIN) == []
    read = volume_reading(KEYS)({"image": image, "label": label})
    assert read["image"].shape == read["label"].shape == (1, 10, 12, 1)


# Labels


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_whole_numbers_of_any_type_are_labels(tmp_path: Path, dtype: type) -> None:
    image = nib.Nifti1Image(label_volume().astype(dtype), AFFINE, dtype=dtype)
    nib.save(image, tmp_path / "label.nii.gz")
    label, findings = load_volume_label(tmp_path / "label.nii.gz", PLAIN)
    assert findings == []
    assert label.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(label.dataobj, label_volume())


@pytest.mark.parametrize(
    ("labels", "problem", "remedy"),
    [
        (
            (label_volume() > 4) * np.uint8(255),
            f"is a mask of 0 and 255; {CLASSES}",
            MAP_REMEDY,
        ),
        (
            (label_volume() / 2).astype(np.float32),
            "holds labels that are not whole numbers (0.5, 1.5, 2.5, ...)",
            "Use the original label map, or resample it by nearest neighbour.",
        ),
        (
            np.where(label_volume() == 3, np.nan, label_volume()).astype(np.float32),
            "holds labels that are not whole numbers (nan, ...)",
            "Use the original label map, or resample it by nearest neighbour.",
        ),
        (
            np.where(label_volume() == 3, np.inf, label_volume()).astype(np.float32),
            "holds labels that are not whole numbers (inf, ...)",
            "Use the original label map, or resample it by nearest neighbour.",
        ),
        (label_volume().astype(np.int16) - 1, f"holds -1, which is no class; {CLASSES}", MAP_REMEDY),
        (label_volume() + np.uint8(5), f"holds 9, 10, 11, 12, 13, which are no classes; {CLASSES}", MAP_REMEDY),
        (
            label_volume().astype(np.int16) * 100,
            f"holds 100, 200, 300, 400, 500, 600, 700, 800, which are no classes; {CLASSES}",
            MAP_REMEDY,
        ),
    ],
    ids=["0 and 255", "fractions", "NaN", "infinite", "negative", "beyond the classes", "beyond 8 bits"],
)
def test_labels_that_are_no_classes_are_refused(tmp_path: Path, labels: np.ndarray, problem: str, remedy: str) -> None:
    path = save(tmp_path / "label.nii.gz", labels)
    found = refusal(load_volume_label, path, VolumeOptions(classes=CLASS_NAMES))
    assert found.rule == "labels"
    assert found.problem == problem
    assert found.remedy == remedy


def test_without_class_names_labels_up_to_255_pass(tmp_path: Path) -> None:
    assert load_volume_label(save(tmp_path / "a.nii.gz", label_volume() * np.uint8(31)), PLAIN)[1] == []
    path = save(tmp_path / "b.nii.gz", label_volume().astype(np.int16) * 32)
    assert refusal(load_volume_label, path).problem == "holds 256, which is no class; the classes are 0 to 255"


def test_labels_scaled_by_their_header_are_read_as_what_they_mean(tmp_path: Path) -> None:
    path = save(tmp_path / "label.nii.gz", label_volume() * np.uint8(10), scl_slope=np.float32(0.1), scl_inter=0)
    found = refusal(load_volume_label, path)  # 0.1 is no 32-bit number, so 10 * 0.1 is not quite 1
    assert found.problem.startswith("holds labels that are not whole numbers (")
    halved = save(tmp_path / "halved.nii.gz", label_volume() * np.uint8(2), scl_slope=0.5, scl_inter=0)
    np.testing.assert_array_equal(load_volume_label(halved, PLAIN)[0].dataobj, label_volume())


def test_organs_out_of_place_are_warned_of_by_the_name_of_the_label_file(tmp_path: Path) -> None:
    labels = organ_labels()[::-1]
    image = save(tmp_path / "image.nii.gz", hu_volume(labels.shape), ORGAN_AFFINE)
    label = save(tmp_path / "label.nii.gz", labels, ORGAN_AFFINE)
    (found,) = check_volume(image, label, VolumeOptions(classes=CLASS_NAMES))
    assert (found.severity, found.file) == (Severity.WARNING, label)
    assert found.problem.startswith("the patient seems mirrored left to right: ")
    assert check_volume(image, label, PLAIN) == []


# An image and its label


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
def test_the_chosen_header_holds_for_both_and_is_warned_of(
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
def test_a_label_without_a_header_of_use_takes_its_image_s_when_told_to(
    tmp_path: Path, fields: dict[str, float]
) -> None:
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


# Collecting


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
