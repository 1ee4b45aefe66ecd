"""The network sees one orientation and one scale, whatever the layout of the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
def test_the_chosen_header_holds_for_both_where_they_disagree(
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
def test_a_ct_that_holds_no_hounsfield_units_is_refused_with_file_fault_and_remedy(
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


# Histology at another scale

HALF = HistologyOptions(resample=True, um_per_px=0.31, label_values="instances")  # 0.31 / 0.62005, the training scale


def write_scaled(folder: Path, um_per_px: float | None = None, shape: tuple[int, int] = (46, 60)) -> dict[str, str]:
    """A smooth picture and instances 0, 3 and 7 in blocks of 2 × 2 pixels; PNG may tell its scale (pHYs)."""
    rows, columns = np.indices(shape)
    pixels = np.stack([4 * rows, 4 * columns, 2 * (rows + columns)], axis=-1).astype(np.uint8)
    ids = np.random.default_rng(0).choice(np.array([0, 3, 7], np.uint8), (shape[0] // 2, shape[1] // 2))
    dpi = {} if um_per_px is None else {"dpi": (25400 / um_per_px, 25400 / um_per_px)}
    Image.fromarray(pixels).save(folder / "a.png", **dpi)
    Image.fromarray(np.repeat(np.repeat(ids, 2, axis=0), 2, axis=1)).save(folder / "a_anno.png")
    return {"image": str(folder / "a.png"), "label": str(folder / "a_anno.png")}


def stored(path: str) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("said_by", ["options", "file"])
def test_training_items_come_at_half_the_size_from_pixels_half_as_large(tmp_path: Path, said_by: str) -> None:
    case = write_scaled(tmp_path, um_per_px=0.31 if said_by == "file" else None)
    read = histology_reading(KEYS, HALF if said_by == "options" else replace(HALF, um_per_px=None))(case)
    assert {key: (read[key].shape, read[key].dtype) for key in KEYS} == {
        "image": ((3, 23, 30), torch.uint8),
        "label": ((1, 23, 30), torch.uint8),
    }
    means = stored(case["image"]).reshape(23, 2, 30, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    inner = np.s_[:, 2:-2, 2:-2]  # a ramp's cubic mean is its mean, away from the border
    assert np.abs(np.asarray(read["image"], np.float64)[inner] - means[inner]).max() <= 1
    np.testing.assert_array_equal(read["label"][0], stored(case["label"])[::2, ::2] > 0)


def test_class_ids_are_never_mixed_by_resizing(tmp_path: Path) -> None:
    case = write_scaled(tmp_path)
    options = HistologyOptions(resample=True, um_per_px=0.31, label_values="classes")
    label = histology_reading(KEYS, options)(case)["label"]
    np.testing.assert_array_equal(label[0], stored(case["label"])[::2, ::2])
    larger = HistologyOptions(resample=True, um_per_px=0.9, label_values="classes")
    assert set(np.unique(histology_reading(KEYS, larger)(case)["label"])) == {0, 3, 7}


@pytest.mark.parametrize(
    ("um_per_px", "size"),
    [(0.155015, (12, 15)), (0.62005, (46, 60)), (1.2401, (92, 120))],  # a quarter (11.5 rounds to 12), 1, twice
    ids=["a quarter", "the training scale", "twice"],
)
def test_the_size_follows_the_scale(tmp_path: Path, um_per_px: float, size: tuple[int, int]) -> None:
    case = write_scaled(tmp_path)
    read = histology_reading(KEYS, HistologyOptions(resample=True, um_per_px=um_per_px))(case)
    assert [tuple(read[key].shape[1:]) for key in KEYS] == [size, size]


def test_values_that_a_cubic_overshoots_stay_within_8_bits(tmp_path: Path) -> None:
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:, 10:] = 255
    case = {"image": write_picture(tmp_path / "a.png", pixels)}
    read = histology_reading(("image",), HistologyOptions(resample=True, um_per_px=1.2401))(case)["image"]
    assert (read.dtype, read.shape) == (torch.uint8, (3, 40, 40))
    assert (read[..., :16] <= 8).all()  # wrapped around, -8 would be 248
    assert (read[..., 24:] >= 247).all()


@pytest.mark.parametrize("preparing", [histology_reading, histology_preprocessing], ids=["training", "inference"])
def test_a_file_without_a_scale_is_refused_where_resampling_is_asked_for(
    tmp_path: Path, preparing: Callable[..., Transform]
) -> None:
    case = write_scaled(tmp_path)
    with pytest.raises(RuntimeError) as caught:
        preparing(("image",), HistologyOptions(resample=True))(case)
    message = message_of(caught.value)
    assert f"{case['image']}: does not record its µm per pixel, and resampling was requested" in message
    assert "Pass um_per_px / --um-per-px" in message


@pytest.mark.parametrize("dpi", [72, 300], ids=["screen", "printer"])
def test_the_resolution_of_a_screen_or_printer_is_no_scale(tmp_path: Path, dpi: int) -> None:
    Image.fromarray(colours()).save(tmp_path / "a.png", dpi=(dpi, dpi))
    with pytest.raises(RuntimeError) as caught:
        histology_reading(("image",), HistologyOptions(resample=True))({"image": str(tmp_path / "a.png")})
    assert "--um-per-px" in message_of(caught.value)


@pytest.mark.parametrize("um_per_px", [None, 0.31], ids=["no scale", "a scale in the file"])
def test_without_resampling_nothing_changes(tmp_path: Path, um_per_px: float | None) -> None:
    case = write_scaled(tmp_path, um_per_px)
    read = histology_reading(KEYS, HistologyOptions(label_values="instances"))(case)
    np.testing.assert_array_equal(read["image"], stored(case["image"]).transpose(2, 0, 1))
    np.testing.assert_array_equal(read["label"][0], stored(case["label"]) > 0)
    assert read["image"].meta["scale_to_training"] == 1


def test_for_evaluation_and_inference_the_file_s_own_grid_is_kept_and_the_scale_told(tmp_path: Path) -> None:
    case = write_scaled(tmp_path, um_per_px=0.31)
    seen = histology_preprocessing(KEYS, HistologyOptions(resample=True))(case)
    plain = histology_preprocessing(KEYS)(case)
    for key in KEYS:
        assert torch.equal(seen[key].as_tensor(), plain[key].as_tensor())
    assert seen["image"].meta["scale_to_training"] == pytest.approx(0.31 / 0.62005, rel=1e-4)
    assert plain["image"].meta["scale_to_training"] == 1
