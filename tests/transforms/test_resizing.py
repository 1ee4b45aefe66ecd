"""Images and labels keep their place when they are resized."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from i2net_bundle.transforms.resizing import ResizeSliced, resize_images, resize_labels

SIZES = pytest.mark.parametrize(
    "size", [(24, 36), (6, 9), (17, 23), (12, 40), (5, 18)], ids=["double", "half", "odd", "wider", "lower"]
)


def blob(height: int = 12, width: int = 18) -> Tensor:
    """A smooth, off-centre bump (1, 1, H, W)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.exp(-((y - 4.0) ** 2 + (x - 11.0) ** 2) / 12)[None, None]


def centroid(image: Tensor) -> np.ndarray:
    """Centre of mass (row, column) of (1, 1, H, W) as a fraction of the height and width."""
    weight = image[0, 0].double().clamp(min=0)
    height, width = weight.shape
    rows, columns = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    return np.array([(weight.sum(1) * rows).sum(), (weight.sum(0) * columns).sum()]) / float(weight.sum())


def random_labels(dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.randint(0, 9, (2, 1, 12, 18), generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_labels_made_larger_repeat_every_pixel_and_come_back_the_same(factor: int) -> None:
    labels = random_labels()
    larger = resize_labels(labels, (12 * factor, 18 * factor))
    assert torch.equal(larger, labels.repeat_interleave(factor, 2).repeat_interleave(factor, 3))
    assert torch.equal(resize_labels(larger, (12, 18)), labels)


@SIZES
def test_a_label_is_that_of_the_pixel_under_the_new_cell_centre(size: tuple[int, int]) -> None:
    labels = random_labels()
    rows, columns = (
        [int((i + 0.5) * extent / new) for i in range(new)] for extent, new in zip((12, 18), size, strict=True)
    )
    assert torch.equal(resize_labels(labels, size), labels[:, :, rows][:, :, :, columns])


@SIZES
def test_an_image_and_its_label_stay_on_top_of_each_other(size: tuple[int, int]) -> None:
    image = blob()
    cell = 1 / np.minimum(size, (12, 18))  # the coarser of the two grids
    resized = resize_images(image, size)
    assert np.all(np.abs(centroid(resized) - centroid(image)) < 0.1 * cell)
    label = (image > 0.3).to(torch.uint8)
    assert np.all(np.abs(centroid(resize_labels(label, size)) - centroid(label)) < 0.5 * cell)


def test_an_image_made_twice_as_large_is_cubic() -> None:
    impulse = torch.zeros(1, 1, 9, 9)
    impulse[0, 0, 4, 4] = 1
    doubled = resize_images(impulse, (18, 18))

    def kernel(t: float) -> float:  # Keys' cubic convolution with a = -0.75
        a, t = -0.75, abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0

    weights = torch.tensor([kernel((i + 0.5) / 2 - 0.5 - 4) for i in range(18)])
    torch.testing.assert_close(doubled[0, 0], weights[:, None] * weights[None, :])


def test_a_constant_image_stays_constant() -> None:
    torch.testing.assert_close(resize_images(torch.full((1, 1, 7, 9), 0.3), (16, 5)), torch.full((1, 1, 16, 5), 0.3))


@pytest.mark.parametrize("resize", [resize_images, resize_labels])
def test_the_same_size_changes_nothing(resize: object) -> None:
    image = torch.rand(2, 1, 12, 18)
    assert torch.equal(resize(image, (12, 18)), image)  # type: ignore[operator]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_labels_keep_their_type_and_contain_no_new_value(dtype: torch.dtype) -> None:
    labels = random_labels(dtype)
    resized = resize_labels(labels, (31, 7))
    assert resized.dtype == dtype
    assert set(resized.unique().tolist()) <= set(labels.unique().tolist())


def test_the_transform_resizes_items_by_kind_and_leaves_the_rest_alone() -> None:
    data = {"image": blob()[0], "label": random_labels()[0], "case": "a.nii.gz[3]"}
    resized = ResizeSliced(("image", "label"), (8, 8))(data)
    assert torch.equal(resized["image"], resize_images(blob(), (8, 8))[0])
    assert torch.equal(resized["label"], resize_labels(random_labels(), (8, 8))[0])
    assert resized["case"] == data["case"]
    assert data["image"].shape == (1, 12, 18)


def test_a_label_under_another_key_is_a_label_when_it_is_declared() -> None:
    labels = random_labels()[:1]
    resized = ResizeSliced("mask", (31, 7), label_keys=("mask",))({"mask": labels[0]})["mask"]
    assert torch.equal(resized, resize_labels(labels, (31, 7))[0])
