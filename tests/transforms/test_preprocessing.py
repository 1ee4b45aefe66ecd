"""The network sees one orientation and one scale, whatever the layout of the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Transform
from PIL import Image

from i2net_bundle.data.phantoms import ORGANS, ct_phantom
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.transforms import (
    histology_preprocessing,
    histology_reading,
    volume_preprocessing,
    volume_reading,
)
from i2net_bundle.transforms.preprocessing import LoadHistologyd, LoadVolumed, histology_intensity, volume_intensity
from tests.causes import message_of
from tests.transforms.pictures import colours, write_picture

KEYS = ("image", "label")
RAS_AFFINE = np.array([[8.0, 0, 0, -190], [0, 8, 0, -180], [0, 0, 15, -600], [0, 0, 0, 1]])
ORIENTATIONS = ["RAS", "LPS", "LAS", "PLS", "SAR", "IPL"]

Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def phantom() -> Arrays:
    """Image and label in RAS order."""
    return ct_phantom(0, (48, 40, 16), (8.0, 9.6, 15.0))


def write_nifti(path: Path, ras: np.ndarray, orientation: str = "RAS", affine: np.ndarray = RAS_AFFINE) -> str:
    """Save a volume given in RAS order with its voxel axes in another orientation, at the same place in the world."""
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(orientation)
    )
    turned = nib.Nifti1Image(ras, affine).as_reoriented(turn)
    assert "".join(nib.aff2axcodes(turned.affine)) == orientation
    nib.save(turned, path)
    return str(path)


def write_pair(folder: Path, phantom: Arrays, orientation: str = "RAS", affine: np.ndarray = RAS_AFFINE) -> dict:
    return {k: write_nifti(folder / f"{k}.nii", a, orientation, affine) for k, a in zip(KEYS, phantom, strict=True)}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_ct_is_the_same_array_in_whatever_orientation_it_is_stored(
    phantom: Arrays, tmp_path: Path, orientation: str
) -> None:
    read = volume_reading(KEYS)(write_pair(tmp_path, phantom, orientation))
    for key, ras in zip(KEYS, phantom, strict=True):
        x, y, z = ras.shape
        assert read[key].shape == (1, y, x, z)
        expected = ras[::-1, ::-1].transpose(1, 0, 2)  # [row, column, slice] = ras[X - 1 - column, Y - 1 - row, slice]
        np.testing.assert_array_equal(read[key][0], expected)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_rows_run_to_posterior_columns_to_the_left_and_slices_upwards(
    phantom: Arrays, tmp_path: Path, orientation: str
) -> None:
    read = volume_reading(KEYS)(write_pair(tmp_path, phantom, orientation))
    label = np.asarray(read["label"][0])
    row, column, depth = (
        {organ: np.argwhere(label == i + 1).mean(0)[axis] for i, organ in enumerate(ORGANS)} for axis in range(3)
    )
    # a radiologist's view: the patient's right, where the liver is, on the left of the picture; the back below
    assert max(column[organ] for organ in ("liver", "right kidney", "gallbladder")) < column["aorta"] + 1
    assert min(column[organ] for organ in ("spleen", "left kidney", "stomach")) > column["aorta"]
    assert min(row[organ] for organ in ("left kidney", "right kidney", "aorta")) > row["pancreas"]
    assert depth["liver"] > depth["right kidney"]


def test_the_affine_after_reading_still_places_voxels_where_they_were(phantom: Arrays, tmp_path: Path) -> None:
    pair = write_pair(tmp_path, phantom, "LAS")
    read = volume_reading(KEYS)(pair)["label"]
    stored = nib.load(pair["label"])
    places = [
        nib.affines.apply_affine(affine, np.argwhere(np.asarray(array) == 5)).mean(0)
        for affine, array in ((read.affine.numpy(), read[0]), (stored.affine, stored.dataobj))
    ]
    np.testing.assert_allclose(*places, atol=1e-3)


def test_an_image_can_be_read_without_a_label(phantom: Arrays, tmp_path: Path) -> None:
    pair = write_pair(tmp_path, phantom, "LPS")
    alone, together = volume_reading(("image",))({"image": pair["image"]}), volume_reading(KEYS)(pair)
    assert torch.equal(alone["image"].as_tensor(), together["image"].as_tensor())


def test_a_label_of_another_shape_is_refused_and_both_files_are_named(phantom: Arrays, tmp_path: Path) -> None:
    pair = write_pair(tmp_path, (phantom[0], phantom[1][:, :, :-1]))
    with pytest.raises(RuntimeError) as caught:
        volume_reading(KEYS)(pair)
    expected = f"{pair['label']}: has shape (48, 40, 15), its image {pair['image']} (48, 40, 16)"
    assert expected in message_of(caught.value)


def moved(shift_mm: float = 0.0, stretch_mm: float = 0.0) -> np.ndarray:
    """The affine shifted upwards, and with voxels that are wider along the first axis."""
    affine = RAS_AFFINE.copy()
    affine[2, 3] += shift_mm
    affine[0, 0] += stretch_mm
    return affine


# the smallest voxel side is 8 mm, so 0.8 mm is what corners may lie apart; the last of 48 voxels is 47 steps away
@pytest.mark.parametrize(
    ("orientation", "affine", "distance_mm"),
    [
        ("LPS", RAS_AFFINE, "488.6"),  # (47 · 8, 39 · 8, 0) mm
        ("RAS", moved(shift_mm=15.0), "15.0"),
        ("RAS", moved(shift_mm=0.82), "0.8"),
        ("RAS", moved(stretch_mm=0.02), "0.9"),
    ],
    ids=["LPS header", "a slice", "a tenth of a voxel", "0.02 mm wider voxels"],
)
def test_a_label_on_another_grid_is_refused_and_both_files_are_named(
    phantom: Arrays, tmp_path: Path, orientation: str, affine: np.ndarray, distance_mm: str
) -> None:
    pair = write_pair(tmp_path, phantom)
    write_nifti(tmp_path / "label.nii", phantom[1], orientation, affine)
    with pytest.raises(RuntimeError) as caught:
        volume_reading(KEYS)(pair)
    message = message_of(caught.value)
    assert f"{pair['label']}: is {distance_mm} mm away from its image {pair['image']}: the image is RAS" in message
    assert f"the label is {orientation}" in message
    assert "choose which header to use with geometry: image or geometry: label" in message


@pytest.mark.parametrize(
    "affine",
    [moved(shift_mm=5e-4), moved(shift_mm=0.78), moved(stretch_mm=0.01)],
    ids=["rounding", "less than a tenth of a voxel", "0.01 mm wider voxels"],
)
def test_grids_that_differ_by_less_than_a_tenth_of_a_voxel_are_taken_for_the_images(
    phantom: Arrays, tmp_path: Path, affine: np.ndarray
) -> None:
    pair = write_pair(tmp_path, phantom)
    write_nifti(tmp_path / "label.nii", phantom[1], "RAS", affine)
    read = volume_reading(KEYS)(pair)
    assert torch.equal(read["label"].affine, read["image"].affine)
    np.testing.assert_array_equal(read["label"][0], phantom[1][::-1, ::-1].transpose(1, 0, 2))


@pytest.mark.parametrize("chosen", KEYS)
def test_the_chosen_header_is_used_for_both_if_they_disagree(
    phantom: Arrays, tmp_path: Path, chosen: str, caplog: pytest.LogCaptureFixture
) -> None:
    pair = write_pair(tmp_path, phantom)
    write_nifti(tmp_path / "label.nii", phantom[1], "RAS", moved(shift_mm=15.0))
    read = volume_reading(KEYS, VolumeOptions(geometry=chosen))(pair)
    assert f"The {chosen}'s header was used for both, as requested." in caplog.text
    alone = volume_reading(("image",))({"image": pair["image"]})["image"].affine
    for key in KEYS:
        shift = (read[key].affine - alone)[:3, 3].tolist()
        assert shift == pytest.approx([0, 0, 0 if chosen == "image" else 15])
        np.testing.assert_array_equal(read[key][0], phantom[KEYS.index(key)][::-1, ::-1].transpose(1, 0, 2))


def test_options_of_the_reading_reach_the_voxels(phantom: Arrays, tmp_path: Path) -> None:
    shifted = (phantom[0].astype(np.float32) + 1024, phantom[1])
    shifted[0][0, 0, 0] = np.nan
    pair = write_pair(tmp_path, shifted)
    read = volume_reading(KEYS, VolumeOptions(hu_offset=-1024, fill_nonfinite=24))(pair)["image"]
    expected = phantom[0].copy()
    expected[0, 0, 0] = -1000
    np.testing.assert_array_equal(read[0], expected[::-1, ::-1].transpose(1, 0, 2))


def test_loading_itself_raises_a_value_error_and_returns_the_other_items(phantom: Arrays, tmp_path: Path) -> None:
    pair = write_pair(tmp_path, phantom)
    loaded = LoadVolumed(KEYS, VolumeOptions())({**pair, "case": 7})
    assert loaded.keys() == {*KEYS, "case"}
    assert {key: loaded[key].meta["filename_or_obj"] for key in KEYS} == pair
    write_nifti(tmp_path / "label.nii", phantom[1][1:])
    assert issubclass(DataError, ValueError)
    with pytest.raises(DataError, match=r"label\.nii: has shape \(47, 40, 16\), its image .*image\.nii \(48, 40, 16\)"):
        LoadVolumed(KEYS, VolumeOptions())(pair)


@pytest.mark.parametrize(
    ("change", "fault", "remedy"),
    [
        (lambda hu: (hu + 125) / 400, "looks normalised already", "Use the CT in Hounsfield units"),
        (lambda hu: hu + 1024, "looks like HU + 1024", "hu_offset: -1024"),
        (lambda hu: np.where(hu > 100, np.nan, hu), "NaN", "fill_nonfinite: -1024"),
    ],
    ids=["normalised", "offset", "nan"],
)
def test_a_ct_that_is_not_in_hounsfield_units_is_refused_with_file_fault_and_remedy(
    phantom: Arrays, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], fault: str, remedy: str
) -> None:
    pair = write_pair(tmp_path, (change(phantom[0].astype(np.float32)).astype(np.float32), phantom[1]))
    with pytest.raises(RuntimeError) as caught:
        volume_reading(KEYS)(pair)
    message = message_of(caught.value)
    assert f"{pair['image']}: " in message
    assert fault in message
    assert remedy in message


@pytest.mark.parametrize(
    ("hu", "expected"),
    [(-3024, 0.0), (-125, 0.0), (-25, 0.25), (75, 0.5), (275, 1.0), (276, 1.0), (3071, 1.0)],
)
def test_the_window_maps_its_bounds_to_0_and_1_and_clips_the_rest(hu: float, expected: float) -> None:
    scaled = volume_intensity()({"image": torch.full((1, 2, 2), float(hu))})["image"]
    np.testing.assert_allclose(scaled, np.full((1, 2, 2), expected), atol=1e-6)


def test_another_window_can_be_chosen() -> None:
    scaled = volume_intensity((0, 100))({"image": torch.tensor([[[-1.0, 0, 40, 100, 275]]])})["image"]
    np.testing.assert_allclose(scaled, [[[0, 0, 0.4, 1, 1]]], atol=1e-6)


def test_ct_preprocessing_is_reading_and_window_and_leaves_labels_alone(phantom: Arrays, tmp_path: Path) -> None:
    pair = write_pair(tmp_path, phantom, "SAR")
    read, seen = volume_reading(KEYS)(pair), volume_preprocessing(KEYS)(pair)
    by_hand = (np.asarray(read["image"]).clip(-125, 275) + 125) / 400
    np.testing.assert_allclose(seen["image"], by_hand, atol=1e-6)
    np.testing.assert_array_equal(seen["label"], read["label"])


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_histology_is_red_green_blue_by_rows_and_columns(tmp_path: Path, suffix: str) -> None:
    image = histology_reading(("image",))({"image": write_picture(tmp_path / f"a.{suffix}", colours())})["image"]
    assert image.shape == (3, 5, 7)
    np.testing.assert_array_equal(image, colours().transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["RGBA", "P", "L"])
def test_pictures_of_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(colours()[..., 0] if mode == "L" else colours()).convert(mode)
    picture.save(tmp_path / "a.png")
    image = histology_reading(("image",))({"image": str(tmp_path / "a.png")})["image"]
    np.testing.assert_array_equal(image, np.asarray(picture.convert("RGB")).transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_instance_numbers_become_a_binary_mask_of_the_same_layout(tmp_path: Path, suffix: str) -> None:
    instances = np.zeros((5, 7), np.uint8)
    instances[0, 1], instances[2, 3:], instances[4, 0] = 1, 2, 255
    case = {
        "image": write_picture(tmp_path / f"a.{suffix}", colours()),
        "label": write_picture(tmp_path / f"a_anno.{suffix}", instances),
    }
    label = histology_reading(KEYS, HistologyOptions(label_values="instances"))(case)["label"]
    assert label.shape == (1, 5, 7)
    np.testing.assert_array_equal(label[0], (instances > 0).astype(np.uint8))


def test_an_annotation_of_another_size_is_refused_and_both_files_are_named(tmp_path: Path) -> None:
    case = {
        "image": write_picture(tmp_path / "a.png", colours()),
        "label": write_picture(tmp_path / "a_anno.png", np.zeros((7, 5), np.uint8)),
    }
    with pytest.raises(RuntimeError) as caught:
        histology_reading(KEYS)(case)
    expected = f"{case['label']}: is 5 × 7 pixels, its image {case['image']} is 7 × 5"
    assert expected in message_of(caught.value)


@pytest.mark.parametrize("high", [255, 1], ids=["0 and 255", "0 and 1"])
def test_a_declared_binary_mask_is_read_as_0_and_1(tmp_path: Path, high: int) -> None:
    mask = np.zeros((5, 7), np.uint8)
    mask[1, 2:] = high
    case = {
        "image": write_picture(tmp_path / "a.png", colours()),
        "label": write_picture(tmp_path / "a_anno.png", mask),
    }
    label = histology_reading(KEYS, HistologyOptions(label_values="binary"))(case)["label"]
    np.testing.assert_array_equal(label[0], mask > 0)


def test_loading_a_picture_itself_raises_a_value_error_and_returns_the_other_items(tmp_path: Path) -> None:
    case = {
        "image": write_picture(tmp_path / "a.png", colours()),
        "label": write_picture(tmp_path / "a_anno.png", np.eye(5, 7, dtype=np.uint8)),
    }
    loaded = LoadHistologyd(KEYS, HistologyOptions())({**case, "case": 7})
    assert loaded.keys() == {*KEYS, "case"}
    assert {key: loaded[key].meta["filename_or_obj"] for key in KEYS} == case
    (tmp_path / "a_anno.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"a_anno\.png: is empty\. Download or export it again"):
        LoadHistologyd(KEYS, HistologyOptions())(case)


def normalised_by_hand(pixels: np.ndarray) -> np.ndarray:
    """(rows, columns, 3) in 0-255 to (3, rows, columns) with ImageNet's mean and standard deviation."""
    scaled = pixels.astype(np.float64) / 255
    return ((scaled - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=["uint8", "float32"])
def test_histology_is_normalised_with_the_numbers_of_imagenet(dtype: torch.dtype) -> None:
    image = torch.from_numpy(colours().transpose(2, 0, 1).copy()).to(dtype)
    scaled = histology_intensity()({"image": image})["image"]
    assert scaled.dtype == torch.float32
    np.testing.assert_allclose(scaled, normalised_by_hand(colours()), atol=1e-5)


def test_zero_pixels_are_normalised_like_all_others() -> None:
    scaled = histology_intensity()({"image": torch.zeros(3, 2, 2, dtype=torch.uint8)})["image"]
    np.testing.assert_allclose(scaled, normalised_by_hand(np.zeros((2, 2, 3))), atol=1e-5)


def test_histology_preprocessing_is_reading_and_normalising(tmp_path: Path) -> None:
    seen = histology_preprocessing()({"image": write_picture(tmp_path / "a.bmp", colours())})["image"]
    np.testing.assert_allclose(seen, normalised_by_hand(colours()), atol=1e-5)


@pytest.mark.parametrize("make", [lambda: volume_intensity(), lambda: histology_intensity()], ids=["ct", "histology"])
def test_intensity_scaling_leaves_the_label_alone(make: object) -> None:
    transform: Transform = make()  # type: ignore[operator]
    label = torch.tensor([[[0, 8], [3, 1]]], dtype=torch.uint8)
    scaled = transform({"image": torch.zeros(3, 2, 2), "label": label})
    assert torch.equal(scaled["label"], torch.tensor([[[0, 8], [3, 1]]], dtype=torch.uint8))
