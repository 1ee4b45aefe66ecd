"""Augmentation moves image and label together, with the given probability, and reproducibly from the seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose
from scipy import ndimage
from torch import Tensor

from i2net_bundle.transforms import histology_training, street_training, volume_training
from i2net_bundle.transforms.augmentation import (
    RandTurnOrRotated,
    reseed,
)
from i2net_bundle.transforms.preprocessing import volume_intensity
from i2net_bundle.transforms.resizing import resize_images, resize_labels
from tests.transforms.scenes import scene

KEYS = ("image", "label")


class TestTurnOrRotate:
    """TransUNet's augmentation."""

    def test_image_and_label_move_together(self) -> None:
        data, transform, moved = scene(), RandTurnOrRotated(), 0
        for draw in range(60):
            reseed(transform, 0, draw)
            out = transform(dict(data))
            assert torch.equal(out["image"] > 100, out["label"] > 0)
            moved += out["label"].shape != data["label"].shape or not torch.equal(out["label"], data["label"])
        assert 35 < moved < 55  # 45 expected

    def test_half_are_turned_a_quarter_rotated_and_a_quarter_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rotations: list[dict[str, Any]] = []

        def rotate(image: np.ndarray, angle: float, **options: Any) -> np.ndarray:
            rotations.append({"angle": angle, **options})
            return np.array(image)

        monkeypatch.setattr(ndimage, "rotate", rotate)
        data, transform = scene(6, 6), RandTurnOrRotated()
        data["image"] = data["label"] = torch.arange(36).reshape(1, 6, 6)
        transform.set_random_state(seed=0)
        turned = sum(not torch.equal(transform(dict(data))["image"], data["image"]) for _ in range(2000))
        assert turned / 2000 == pytest.approx(1 / 2, abs=0.04)  # sd 0.011
        assert len(rotations) / 2 / 2000 == pytest.approx(1 / 4, abs=0.04)
        angles = [rotation["angle"] for rotation in rotations]
        assert angles[::2] == angles[1::2]  # image, label
        assert (min(angles), max(angles)) == (-20, 20)
        assert all(r["order"] == 0 and r["axes"] == (1, 2) and not r["reshape"] for r in rotations)

    def test_turns_are_the_four_mirror_images_of_a_slice(self) -> None:
        image = torch.arange(36).reshape(1, 6, 6)
        transform = RandTurnOrRotated()
        transform.set_random_state(seed=0)
        mirrored = [image.rot90(turns, (1, 2)).flip(1) for turns in range(4)]
        found = [0] * 4
        for _ in range(200):
            out = transform({"image": image, "label": image})["image"]
            for index, candidate in enumerate(mirrored):
                found[index] += torch.equal(out, candidate)
        assert min(found) > 10  # 25 expected
        assert 75 < sum(found) < 125


class TestCTTraining:
    """Window, augmentation and resizing of a cached slice."""

    def slice(self) -> dict[str, Tensor]:
        label = scene()["label"]
        hu = torch.where(label > 0, 180, -600).to(torch.int16)
        return {"image": hu, "label": label}

    def test_without_augmentation_it_is_window_and_resize(self) -> None:
        data = self.slice()
        out = volume_training((32, 40), augment=False)(dict(data))
        expected = torch.as_tensor(np.asarray(volume_intensity()(dict(data))["image"]))
        torch.testing.assert_close(
            torch.as_tensor(np.asarray(out["image"])), resize_images(expected[None], (32, 40))[0]
        )
        assert torch.equal(out["label"], resize_labels(data["label"][None], (32, 40))[0])

    def test_items_have_the_network_s_size_whatever_was_drawn(self) -> None:
        transform = volume_training((32, 40))
        for draw in range(12):
            reseed(transform, 0, draw)
            out = transform(self.slice())
            assert out["image"].shape == out["label"].shape == (1, 32, 40)
            assert (out["image"].dtype, out["label"].dtype) == (torch.float32, torch.uint8)

    def test_the_window_is_applied_before_the_borders_are_filled(self) -> None:
        transform = volume_training((60, 80), intensity=volume_intensity((-1000, 275)))
        for draw in range(40):
            reseed(transform, 0, draw)
            out = np.asarray(transform(self.slice())["image"])
            assert out.min() > -0.2  # cubic overshoot at most; HU 0 or -1000 filled in afterwards would show
            assert out.max() < 1.2


@pytest.mark.parametrize(
    "make",
    [lambda: volume_training((32, 32)), lambda: histology_training((32, 32)), lambda: RandTurnOrRotated()],
    ids=["ct", "histology", "a single transform"],
)
def test_a_key_fixes_what_is_drawn(make: Any) -> None:
    def draw(transform: Compose, *key: int) -> dict[str, Any]:
        reseed(transform, *key)
        return transform(scene(channels=3))

    transform = make()
    again = make()
    outs = [draw(transform, 1, 2, 3), draw(again, 0, 0, 7), draw(again, 1, 2, 3)]
    assert all(torch.equal(torch.as_tensor(outs[0][key]), torch.as_tensor(outs[2][key])) for key in KEYS)
    others = [draw(transform, 1, 2, index) for index in range(8)]
    assert (
        sum(
            torch.equal(other["image"], others[0]["image"])
            for other in others
            if other["image"].shape == others[0]["image"].shape
        )
        < 6
    )


def test_histology_items_are_normalised_patches() -> None:
    transform = histology_training((48, 32))
    for draw in range(8):
        reseed(transform, 0, draw)
        out = transform({"image": torch.full((3, 60, 80), 128, dtype=torch.uint8), "label": scene()["label"]})
        assert out["image"].shape == (3, 48, 32)
        assert out["label"].shape == (1, 48, 32)
        assert (out["image"].dtype, out["label"].dtype) == (torch.float32, torch.uint8)
        assert -2.2 < float(out["image"].min()) <= float(out["image"].max()) < 2.7  # 0 and 255 after ImageNet's scale


def test_histology_without_augmentation_is_imagenet_normalisation_alone() -> None:
    image = torch.arange(3 * 6 * 7, dtype=torch.uint8).reshape(3, 6, 7)
    out = histology_training((6, 7), probability=0.0)({"image": image, "label": image[:1] > 5})["image"]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((image.numpy().transpose(1, 2, 0) / 255 - mean) / std).transpose(2, 0, 1)
    np.testing.assert_allclose(out, expected, atol=1e-4)


class TestStreet:
    """Random scale, crop and flip of street scenes."""

    @staticmethod
    def draw(data: dict[str, Tensor], index: int = 0, **settings: Any) -> dict[str, Tensor]:
        transform = street_training(intensity=volume_intensity([0, 200], ["any"]), **settings)
        reseed(transform, 0, 0, index)
        return transform(dict(data))

    @pytest.mark.parametrize("scale_range", [(0.5, 2.0), (1.0, 1.0)], ids=str)
    def test_image_and_label_move_together(self, scale_range: tuple[float, float]) -> None:
        data = scene(channels=3)
        for index in range(20):
            out = self.draw(data, index, size=(40, 40), scale_range=scale_range)
            assert out["image"].shape == (3, 40, 40) and out["label"].shape == (1, 40, 40)
            known = out["label"][0] != 255
            agree = (out["image"][0] > 100) == (out["label"][0] == 1)
            assert agree[known].float().mean() > 0.95

    def test_without_scaling_a_crop_is_a_part_of_the_image_or_of_its_mirror(self) -> None:
        image = torch.arange(30 * 50).reshape(1, 30, 50).float()
        data = {"image": image, "label": torch.zeros(1, 30, 50, dtype=torch.uint8)}
        flipped = set()
        for index in range(12):
            crop = self.draw(data, index, size=(20, 20), scale_range=(1.0, 1.0))["image"][0]
            is_flipped = bool(crop[0, 0] > crop[0, 1])
            flipped.add(is_flipped)
            crop = crop.flip(1) if is_flipped else crop
            row, col = divmod(int(crop[0, 0]), 50)
            assert torch.equal(crop, image[0, row : row + 20, col : col + 20])
        assert flipped == {True, False}

    def test_what_is_missing_is_the_mean_colour_and_ignored(self) -> None:
        transform = street_training((100, 120), (1.0, 1.0), ignore_index=99)
        data = {"image": torch.full((3, 60, 80), 255.0), "label": torch.ones(1, 60, 80, dtype=torch.uint8)}
        out = transform(data)
        outside = out["label"][0] == 99
        assert int(outside.sum()) == 100 * 120 - 60 * 80
        assert not out["image"][:, outside].any() and (out["image"][:, ~outside] > 1).all()

    def test_magnifications_are_spread_over_their_range(self) -> None:
        data = scene(100, 100)
        shares = []
        for index in range(40):
            label = self.draw(data, index, size=(200, 200))["label"]
            shares.append(float((label != 255).float().mean()))
        assert min(shares) < 0.12 and max(shares) > 0.8  # (100 · scale / 200)²

    def test_a_seed_reproduces_a_crop(self) -> None:
        first, again, other = (self.draw(scene(channels=3), index, size=(40, 40)) for index in (1, 1, 2))
        assert torch.equal(first["image"], again["image"]) and torch.equal(first["label"], again["label"])
        assert not torch.equal(first["image"], other["image"])
