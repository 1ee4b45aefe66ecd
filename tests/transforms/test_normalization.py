"""Channels are normalised by their names, volume by volume, before slices are cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Invertd

from i2net_bundle.io.channels import is_ct, normalization_of
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.training import SliceDataset
from i2net_bundle.training.cache import CaseCache
from i2net_bundle.transforms import volume_intensity, volume_preprocessing, volume_reading, volume_training
from i2net_bundle.transforms.normalization import rescale, z_score
from tests.checks.ct_files import SHAPE, hu_volume, label_volume, save
from tests.checks.mr_files import MR, mr_volume, write_channels

KEYS = ("image", "label")


def slow_z_score(volume: np.ndarray) -> np.ndarray:
    """Of the non-zero voxels between their percentiles, by NumPy in double precision."""
    values = volume.astype(np.float64)
    body = values[values != 0]
    clipped = np.clip(body, *np.percentile(body, (0.5, 99.5)))
    result = np.zeros_like(values)
    result[values != 0] = (clipped - clipped.mean()) / clipped.std()
    return result


def background(volume: np.ndarray) -> np.ndarray:
    """The volume with two planes of zeros."""
    volume = volume.copy()
    volume[:2] = 0
    return volume


def test_a_z_score_is_that_of_the_non_zero_voxels_between_their_percentiles() -> None:
    volume = background(mr_volume())
    np.testing.assert_allclose(z_score(torch.from_numpy(volume)).numpy(), slow_z_score(volume), atol=1e-5)


def test_a_z_score_does_not_depend_on_the_scale_of_the_scanner() -> None:
    volume = torch.from_numpy(background(mr_volume()).astype(np.float32))
    torch.testing.assert_close(z_score(volume), z_score(volume * 37.5), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("value", [0, 5])
def test_a_constant_channel_becomes_zero(value: int) -> None:
    assert not z_score(torch.full((3, 4, 5), value)).any()


def test_outliers_do_not_move_a_z_score() -> None:
    volume = mr_volume().astype(np.float32)
    spoilt = volume.copy()
    spoilt.flat[:2] = 1e6
    moved = np.abs(z_score(torch.from_numpy(spoilt)).numpy() - slow_z_score(volume)).ravel()[2:]
    assert np.median(moved) < 0.05 < np.median(np.abs((volume - spoilt.mean()) / spoilt.std() - slow_z_score(volume)))


def test_rescaling_spans_0_to_1() -> None:
    scaled = rescale(torch.tensor([[2, 4], [6, 10]]))
    assert scaled.tolist() == [[0, 0.25], [0.5, 1]]


@pytest.mark.parametrize(
    ("channel", "how"),
    [
        ("CT", "window"),
        ("ct", "window"),
        ("T2", "z-score"),
        ("z_score", "z-score"),
        ("noNorm", "none"),
        ("rescale_to_0_1", "rescale"),
        ("rgb_to_0_1", "rgb"),
    ],
)
def test_a_channels_name_says_how_it_is_normalised(channel: str, how: str) -> None:
    assert normalization_of(channel) == how
    assert is_ct(channel) == (how == "window")


# In the reading


def test_mr_is_normalised_by_the_reading_and_passes_the_intensity_stage_unchanged(tmp_path: Path) -> None:
    case = {"image": write_channels(tmp_path)}
    read = volume_reading(("image",), MR)(case)["image"]
    assert (read.dtype, read.shape[0]) == (torch.float32, 2)
    for index, volume in enumerate((mr_volume(0), mr_volume(1, 1000.0))):
        assert np.sort(np.asarray(read[index]).ravel()) == pytest.approx(
            np.sort(slow_z_score(volume).ravel()), abs=1e-4
        )
    torch.testing.assert_close(volume_intensity(channels=MR.channels)({"image": read})["image"], read)


def test_ct_keeps_hounsfield_units_in_the_reading_and_is_windowed_after_it(tmp_path: Path) -> None:
    options = VolumeOptions(channels=("CT", "PET"))
    case = {"image": [save(tmp_path / "a.nii.gz", hu_volume()), save(tmp_path / "b.nii.gz", mr_volume())]}
    preprocessing = volume_preprocessing(("image",), options)
    read = volume_reading(("image",), options)(case)["image"]
    assert np.asarray(read[0]).min() == hu_volume().min()
    seen = preprocessing(case)["image"]
    torch.testing.assert_close(seen[0].as_tensor(), ((read[0] + 125) / 400).clamp(0, 1).as_tensor())
    torch.testing.assert_close(seen[1], read[1])


def test_without_normalisation_and_in_unit_range_by_their_names(tmp_path: Path) -> None:
    options = VolumeOptions(channels=("noNorm", "rescale_to_0_1"))
    read = volume_reading(("image",), options)({"image": write_channels(tmp_path)})["image"]
    assert set(np.unique(np.asarray(read[0]))) == set(np.unique(mr_volume(0)).astype(np.float32))
    assert (float(read[1].min()), float(read[1].max())) == (0.0, 1.0)


# Named steps


def test_the_steps_have_names_and_stay_a_flat_list(tmp_path: Path) -> None:
    preprocessing = volume_preprocessing(("image",), MR)
    steps = (preprocessing.load, preprocessing.orientation, preprocessing.normalization, preprocessing.intensity)
    assert tuple(preprocessing.transforms) == steps
    assert volume_preprocessing(("image",)).normalization is None


def test_reading_and_scaling_in_turn_is_the_whole_and_keeps_the_stored_values(tmp_path: Path) -> None:
    case = {"image": write_channels(tmp_path), "case": "p"}
    preprocessing = volume_preprocessing(("image",), MR)
    read, findings = preprocessing.read(case)
    stored = np.asarray(read["image"]).copy()
    seen = preprocessing.scale(read)
    assert findings == []
    assert read["image"].dtype == torch.int16
    np.testing.assert_array_equal(np.asarray(read["image"]), stored)
    torch.testing.assert_close(seen["image"], preprocessing(case)["image"])
    assert seen["case"] == "p"


def test_a_mask_goes_back_to_the_grid_of_the_files(tmp_path: Path) -> None:
    case = {"image": write_channels(tmp_path)}
    preprocessing = volume_preprocessing(("image",), MR)
    read, _ = preprocessing.read(case)
    seen = preprocessing.scale(read)
    pred = MetaTensor((read["image"][:1] > 500).to(torch.uint8))
    back = Invertd("pred", preprocessing, orig_keys="image", nearest_interp=True)({**seen, "pred": pred})["pred"]
    np.testing.assert_array_equal(np.asarray(back)[0], mr_volume(0) > 500)


# Slices of several channels


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_slices_have_all_channels_normalised_over_their_volume(tmp_path: Path, on_disk: bool) -> None:
    case = {"image": write_channels(tmp_path), "label": save(tmp_path / "label.nii.gz", label_volume())}
    transform = volume_training((10, 12), augment=False, intensity=volume_intensity(channels=MR.channels))
    cache_dir = tmp_path / "cache" if on_disk else None
    dataset = SliceDataset([case], volume_reading(KEYS, MR), transform, cache_dir)
    assert len(dataset) == SHAPE[2]
    item = dataset[3]
    assert (item["image"].shape, item["label"].shape) == ((2, 10, 12), (1, 10, 12))
    wanted = [slow_z_score(volume)[:, :, 3].T for volume in (mr_volume(0), mr_volume(1, 1000.0))]
    np.testing.assert_allclose(item["image"].numpy(), wanted, atol=1e-4)  # LPS: rows to posterior, columns to left


def test_augmentation_moves_channels_and_label_together(tmp_path: Path) -> None:
    same = [save(tmp_path / f"p_000{number}.nii.gz", label_volume().astype(np.int16) + 1) for number in range(2)]
    case = {"image": same, "label": save(tmp_path / "label.nii.gz", label_volume())}
    options = VolumeOptions(channels=("noNorm", "noNorm"))
    transform = volume_training((10, 12), intensity=volume_intensity(channels=options.channels))
    dataset = SliceDataset([case], volume_reading(KEYS, options), transform)
    for epoch in range(6):
        item = dataset[epoch, 2]
        torch.testing.assert_close(item["image"][0], item["image"][1])


def test_a_changed_second_channel_gives_a_new_cache_entry(tmp_path: Path) -> None:
    case = {"image": write_channels(tmp_path), "label": save(tmp_path / "label.nii.gz", label_volume())}
    cache = CaseCache(volume_reading(KEYS, MR), tmp_path / "cache")
    before = cache.key(case)
    save(tmp_path / "p_0001.nii.gz", mr_volume(5))
    assert cache.key(case) != before
