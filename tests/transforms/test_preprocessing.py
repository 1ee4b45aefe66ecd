"""Whatever a file's layout, the network sees one orientation and one scale."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Transform
from PIL import Image

from i2net_bundle.data.phantoms import ORGANS, ct_phantom
from i2net_bundle.transforms import (
    ct_preprocessing,
    ct_reading,
    histology_preprocessing,
    histology_reading,
)
from i2net_bundle.transforms.preprocessing import SameGridd, ct_intensity, histology_intensity

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


def write_picture(path: Path, pixels: np.ndarray) -> str:
    Image.fromarray(pixels).save(path)
    return str(path)


def message_of(error: BaseException | None) -> str:
    """What MONAI's wrappers say, down to the first cause."""
    return "" if error is None else f"{error}\n{message_of(error.__cause__)}"


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_ct_is_the_same_array_in_whatever_orientation_it_is_stored(
    phantom: Arrays, tmp_path: Path, orientation: str
) -> None:
    read = ct_reading(KEYS)(write_pair(tmp_path, phantom, orientation))
    for key, ras in zip(KEYS, phantom, strict=True):
        x, y, z = ras.shape
        assert read[key].shape == (1, y, x, z)
        expected = ras[::-1, ::-1].transpose(1, 0, 2)  # [row, column, slice] = ras[X - 1 - column, Y - 1 - row, slice]
        np.testing.assert_array_equal(read[key][0], expected)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_rows_run_to_posterior_columns_to_the_left_and_slices_upwards(
    phantom: Arrays, tmp_path: Path, orientation: str
) -> None:
    read = ct_reading(KEYS)(write_pair(tmp_path, phantom, orientation))
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
    read = ct_reading(KEYS)(pair)["label"]
    stored = nib.load(pair["label"])
    places = [
        nib.affines.apply_affine(affine, np.argwhere(np.asarray(array) == 5)).mean(0)
        for affine, array in ((read.affine.numpy(), read[0]), (stored.affine, stored.dataobj))
    ]
    np.testing.assert_allclose(*places, atol=1e-3)


def test_an_image_can_be_read_without_a_label(phantom: Arrays, tmp_path: Path) -> None:
    pair = write_pair(tmp_path, phantom, "LPS")
    alone, together = ct_reading(("image",))({"image": pair["image"]}), ct_reading(KEYS)(pair)
    assert torch.equal(alone["image"].as_tensor(), together["image"].as_tensor())


def test_a_label_of_another_shape_is_refused_and_both_files_are_named(phantom: Arrays, tmp_path: Path) -> None:
    pair = write_pair(tmp_path, (phantom[0], phantom[1][:, :, :-1]))
    with pytest.raises(RuntimeError) as caught:
        ct_reading(KEYS)(pair)
    expected = f"{pair['image']} and {pair['label']} differ in shape: (48, 40, 16) and (48, 40, 15)"
    assert expected in message_of(caught.value)


@pytest.mark.parametrize(
    ("orientation", "shift_mm"),
    [("LPS", 0.0), ("RAS", 8.0), ("RAS", 0.01), ("RAS", 0.003)],
    ids=["LPS header", "a voxel", "0.01 mm", "0.003 mm"],
)
def test_a_label_with_another_affine_is_refused_and_both_files_are_named(
    phantom: Arrays, tmp_path: Path, orientation: str, shift_mm: float
) -> None:
    pair = write_pair(tmp_path, phantom)
    shifted = RAS_AFFINE.copy()
    shifted[2, 3] += shift_mm
    write_nifti(tmp_path / "label.nii", phantom[1], orientation, shifted)
    with pytest.raises(RuntimeError) as caught:
        ct_reading(KEYS)(pair)
    assert f"{pair['image']} and {pair['label']} differ in geometry" in message_of(caught.value)


def test_affines_that_differ_by_rounding_are_taken(phantom: Arrays, tmp_path: Path) -> None:
    pair = write_pair(tmp_path, phantom)
    rounded = RAS_AFFINE.copy()
    rounded[2, 3] += 5e-4
    write_nifti(tmp_path / "label.nii", phantom[1], "RAS", rounded)
    ct_reading(KEYS)(pair)


def test_the_grid_check_itself_raises_value_error_and_returns_the_items(phantom: Arrays, tmp_path: Path) -> None:
    read = ct_reading(KEYS)(write_pair(tmp_path, phantom))
    assert SameGridd(KEYS)(read).keys() == read.keys()
    with pytest.raises(ValueError, match=r"image\.nii and .*label\.nii differ in shape"):
        SameGridd(KEYS)({**read, "label": read["label"][:, 1:]})


@pytest.mark.parametrize(
    ("hu", "expected"),
    [(-3024, 0.0), (-125, 0.0), (-25, 0.25), (75, 0.5), (275, 1.0), (276, 1.0), (3071, 1.0)],
)
def test_the_window_maps_its_bounds_to_0_and_1_and_clips_the_rest(hu: float, expected: float) -> None:
    scaled = ct_intensity()({"image": torch.full((1, 2, 2), float(hu))})["image"]
    np.testing.assert_allclose(scaled, np.full((1, 2, 2), expected), atol=1e-6)


def test_another_window_can_be_chosen() -> None:
    scaled = ct_intensity((0, 100))({"image": torch.tensor([[[-1.0, 0, 40, 100, 275]]])})["image"]
    np.testing.assert_allclose(scaled, [[[0, 0, 0.4, 1, 1]]], atol=1e-6)


def test_ct_preprocessing_is_reading_and_window_and_leaves_labels_alone(phantom: Arrays, tmp_path: Path) -> None:
    pair = write_pair(tmp_path, phantom, "SAR")
    read, seen = ct_reading(KEYS)(pair), ct_preprocessing(KEYS)(pair)
    by_hand = (np.asarray(read["image"]).clip(-125, 275) + 125) / 400
    np.testing.assert_allclose(seen["image"], by_hand, atol=1e-6)
    np.testing.assert_array_equal(seen["label"], read["label"])


def colours() -> np.ndarray:
    """A 5×7 picture whose every pixel and channel differs."""
    return np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


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
    label = histology_reading(KEYS)(case)["label"]
    assert label.shape == (1, 5, 7)
    np.testing.assert_array_equal(label[0], (instances > 0).astype(np.uint8))


def test_an_annotation_of_another_size_is_refused_and_both_files_are_named(tmp_path: Path) -> None:
    case = {
        "image": write_picture(tmp_path / "a.png", colours()),
        "label": write_picture(tmp_path / "a_anno.png", np.zeros((7, 5), np.uint8)),
    }
    with pytest.raises(RuntimeError) as caught:
        histology_reading(KEYS)(case)
    assert f"{case['image']} and {case['label']} differ in shape: (5, 7) and (7, 5)" in message_of(caught.value)


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


@pytest.mark.parametrize("make", [lambda: ct_intensity(), lambda: histology_intensity()], ids=["ct", "histology"])
def test_intensity_scaling_leaves_the_label_alone(make: object) -> None:
    transform: Transform = make()  # type: ignore[operator]
    label = torch.tensor([[[0, 8], [3, 1]]], dtype=torch.uint8)
    scaled = transform({"image": torch.zeros(3, 2, 2), "label": label})
    assert torch.equal(scaled["label"], torch.tensor([[[0, 8], [3, 1]]], dtype=torch.uint8))
