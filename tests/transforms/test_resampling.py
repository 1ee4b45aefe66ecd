"""Histology at another scale is resampled for training, or refused if its scale is unknown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Transform
from PIL import Image

from i2net_bundle.io.options import HistologyOptions
from i2net_bundle.transforms import histology_preprocessing, histology_reading
from tests.causes import message_of
from tests.transforms.pictures import colours, write_picture

KEYS = ("image", "label")

HALF = HistologyOptions(resample=True, um_per_px=0.31, label_values="instances")  # 0.31 / 0.62005, the training scale


def write_scaled(folder: Path, um_per_px: float | None = None, shape: tuple[int, int] = (46, 60)) -> dict[str, str]:
    """A smooth picture and instances 0, 3 and 7 in blocks of 2 × 2 pixels; a PNG may record its scale (pHYs)."""
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
def test_a_file_without_a_scale_is_refused_if_resampling_is_requested(
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


def test_for_evaluation_and_inference_the_file_s_own_grid_is_kept_and_the_scale_recorded(tmp_path: Path) -> None:
    case = write_scaled(tmp_path, um_per_px=0.31)
    seen = histology_preprocessing(KEYS, HistologyOptions(resample=True))(case)
    plain = histology_preprocessing(KEYS)(case)
    for key in KEYS:
        assert torch.equal(seen[key].as_tensor(), plain[key].as_tensor())
    assert seen["image"].meta["scale_to_training"] == pytest.approx(0.31 / 0.62005, rel=1e-4)
    assert plain["image"].meta["scale_to_training"] == 1
