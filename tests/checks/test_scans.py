"""A CT is read as HU and a label as classes, or refused with the file, the fault and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from i2net_bundle.checks.scans import check_volume, load_volume, load_volume_label
from i2net_bundle.io.findings import Severity
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.transforms import volume_preprocessing, volume_reading
from tests.checks.ct_files import AFFINE, CLASS_NAMES, ORGAN_AFFINE, hu_volume, label_volume, organ_labels, save
from tests.io.refusals import refusal

PLAIN = VolumeOptions()
KEYS = ("image", "label")
MAP_REMEDY = (
    "Correct the labels of the data list, or renumber the mask; `i2net prepare` does it for declared numberings."
)
CLASSES = f"the classes are 0 to 8 ({', '.join(CLASS_NAMES)})"
GO_ON = "If these are Hounsfield units after all, set any_intensities (--any-intensities)."


# Options


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"header": "affine"}, r"^header must be sform or qform, got 'affine'\.$"),
        ({"geometry": "both"}, r"^geometry must be image or label, got 'both'\.$"),
    ],
    ids=["header", "geometry"],
)
def test_other_values_of_options_are_refused(values: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VolumeOptions(**values)


def test_class_names_of_a_configuration_become_a_tuple() -> None:
    options = VolumeOptions(classes=["background", "liver"])  # type: ignore[arg-type]
    assert options.class_names == ("background", "liver")
    assert options == VolumeOptions(classes=("background", "liver"))


# CT


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_a_ct_is_read_unchanged_without_findings(tmp_path: Path, suffix: str) -> None:
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


def test_hu_with_an_offset_are_refused_until_the_offset_is_declared(tmp_path: Path) -> None:
    path = save(tmp_path / "ct.nii.gz", np.clip(hu_volume() + 1024, 0, None).astype(np.int16))
    found = refusal(load_volume, path)
    assert found.rule == "offset"
    assert found.problem.startswith("looks like HU + 1024: values run from 0 to 1")
    assert found.remedy == f"Shift it with hu_offset: -1024 (--hu-offset -1024). {GO_ON}"
    image, findings = load_volume(path, VolumeOptions(hu_offset=-1024))
    assert findings == []
    np.testing.assert_array_equal(image.dataobj, np.clip(hu_volume(), -1024, None))


def test_voxels_without_a_finite_value_are_refused_until_a_fill_value_is_set(tmp_path: Path) -> None:
    voxels = hu_volume().astype(np.float32)
    voxels[0, 0, :2], voxels[1, 0, 0], voxels[2, 0, 0] = np.nan, np.inf, -np.inf
    path = save(tmp_path / "ct.nii.gz", voxels)
    assert str(refusal(load_volume, path)) == (
        f"{path}: contains 2 NaN and 2 infinite voxels of 960. Convert the scan again, or fill them with "
        "fill_nonfinite: -1024 (--fill-nonfinite -1024)."
    )
    image, (found,) = load_volume(path, VolumeOptions(fill_nonfinite=-1024))
    assert found.severity is Severity.WARNING
    assert str(found) == (
        f"{path}: 4 voxels without a finite value were filled with -1024 HU. Check that they lie outside the body."
    )
    np.testing.assert_array_equal(image.dataobj, np.where(np.isfinite(voxels), voxels, -1024))


def test_a_fill_value_changes_nothing_in_a_file_that_needs_none(tmp_path: Path) -> None:
    path = save(tmp_path / "ct.nii.gz", hu_volume().astype(np.float32))
    assert load_volume(path, VolumeOptions(fill_nonfinite=-1024))[1] == []


def test_any_intensities_are_read_if_the_user_allows_them(tmp_path: Path) -> None:
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


def test_only_the_chosen_volume_is_checked(tmp_path: Path) -> None:
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
            "contains labels that are not whole numbers (0.5, 1.5, 2.5, ...)",
            "Use the original label map, or resample it by nearest neighbour.",
        ),
        (
            np.where(label_volume() == 3, np.nan, label_volume()).astype(np.float32),
            "contains labels that are not whole numbers (nan, ...)",
            "Use the original label map, or resample it by nearest neighbour.",
        ),
        (
            np.where(label_volume() == 3, np.inf, label_volume()).astype(np.float32),
            "contains labels that are not whole numbers (inf, ...)",
            "Use the original label map, or resample it by nearest neighbour.",
        ),
        (label_volume().astype(np.int16) - 1, f"contains -1, which is no class; {CLASSES}", MAP_REMEDY),
        (label_volume() + np.uint8(5), f"contains 9, 10, 11, 12, 13, which are no classes; {CLASSES}", MAP_REMEDY),
        (
            label_volume().astype(np.int16) * 100,
            f"contains 100, 200, 300, 400, 500, 600, 700, 800, which are no classes; {CLASSES}",
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
    assert refusal(load_volume_label, path).problem == "contains 256, which is no class; the classes are 0 to 255"


def test_the_scale_in_the_header_of_a_label_is_applied(tmp_path: Path) -> None:
    path = save(tmp_path / "label.nii.gz", label_volume() * np.uint8(10), scl_slope=np.float32(0.1), scl_inter=0)
    found = refusal(load_volume_label, path)  # 0.1 is no 32-bit number, so 10 * 0.1 is not quite 1
    assert found.problem.startswith("contains labels that are not whole numbers (")
    halved = save(tmp_path / "halved.nii.gz", label_volume() * np.uint8(2), scl_slope=0.5, scl_inter=0)
    np.testing.assert_array_equal(load_volume_label(halved, PLAIN)[0].dataobj, label_volume())


def test_organs_out_of_place_raise_a_warning_that_names_the_label_file(tmp_path: Path) -> None:
    labels = organ_labels()[::-1]
    image = save(tmp_path / "image.nii.gz", hu_volume(labels.shape), ORGAN_AFFINE)
    label = save(tmp_path / "label.nii.gz", labels, ORGAN_AFFINE)
    (found,) = check_volume(image, label, VolumeOptions(classes=CLASS_NAMES))
    assert (found.severity, found.file) == (Severity.WARNING, label)
    assert found.problem.startswith("the patient seems mirrored left to right: ")
    assert check_volume(image, label, PLAIN) == []
