"""Augmentation moves image and label together, with the given probability, and reproducibly from the seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose
from scipy import ndimage
from skimage.color import hed_from_rgb, separate_stains
from torch import Tensor

from i2net_bundle.transforms import histology_training, street_training, volume_training
from i2net_bundle.transforms.augmentation import (
    RandAffineCropd,
    RandColorJitterd,
    RandStaind,
    RandTurnOrRotated,
    reseed,
)
from i2net_bundle.transforms.preprocessing import volume_intensity
from i2net_bundle.transforms.resizing import resize_images, resize_labels

KEYS = ("image", "label")


def scene(height: int = 60, width: int = 80, channels: int = 1) -> dict[str, Tensor]:
    """A large asymmetrical shape: the image is bright where the label is 1."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    disk = ((y - 0.4 * height) ** 2 + (x - 0.35 * width) ** 2) < (0.3 * height) ** 2
    bar = (x > 0.7 * width) & (y > 0.5 * height)
    label = (disk | bar)[None].to(torch.uint8)
    return {"image": label.float().expand(channels, -1, -1) * 200, "label": label}


def affine_crop(size: tuple[int, int], probability: float = 0.0, rotation: float = 0.0, scale: Any = (1, 1)) -> Any:
    return RandAffineCropd(size, probability, rotation, scale)


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


class TestAffineCrop:
    """Random patches of histology images."""

    def test_without_augmentation_a_patch_is_a_piece_of_the_image_pixel_by_pixel(self) -> None:
        image = torch.rand(3, 20, 24, generator=torch.Generator().manual_seed(0)) * 255
        label = (image[:1] > 128).to(torch.uint8)
        transform = affine_crop((8, 9))
        for seed in range(10):
            transform.set_random_state(seed=seed)
            out = transform({"image": image, "label": label})
            places = [
                (y, x)
                for y in range(20 - 8 + 1)
                for x in range(24 - 9 + 1)
                if torch.equal(out["label"], label[:, y : y + 8, x : x + 9])
            ]
            assert len(places) == 1
            y, x = places[0]
            torch.testing.assert_close(out["image"], image[:, y : y + 8, x : x + 9], atol=2e-3, rtol=0)

    def test_patches_come_from_everywhere(self) -> None:
        rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(20.0), indexing="ij")
        data = {"image": torch.stack([rows, columns, rows]), "label": torch.zeros(1, 16, 20)}
        transform = affine_crop((8, 8))
        transform.set_random_state(seed=0)
        patches = [transform(dict(data))["image"] for _ in range(300)]
        corners = np.array([[float(p[0, 0, 0]), float(p[1, 0, 0])] for p in patches])
        assert np.all(corners.min(0) < 0.5)
        assert np.all(corners.max(0) > [7.5, 11.5])
        np.testing.assert_allclose(corners.mean(0), [4, 6], atol=0.7)

    def test_a_patch_of_the_image_s_size_is_the_image(self) -> None:
        data = {"image": torch.rand(3, 15, 22), "label": (torch.rand(1, 15, 22) > 0.5).to(torch.uint8)}
        out = affine_crop((15, 22))(dict(data))
        torch.testing.assert_close(out["image"], data["image"], atol=1e-5, rtol=0)
        assert torch.equal(out["label"], data["label"])

    def test_a_patch_larger_than_the_image_is_mirrored_at_the_border(self) -> None:
        data = {"image": torch.rand(3, 10, 12), "label": (torch.rand(1, 10, 12) > 0.5).to(torch.uint8)}
        out = affine_crop((16, 14))(dict(data))
        pad = ((0, 0), (3, 3), (1, 1))
        np.testing.assert_allclose(out["image"], np.pad(data["image"].numpy(), pad, "symmetric"), atol=1e-5)
        np.testing.assert_array_equal(out["label"], np.pad(data["label"].numpy(), pad, "symmetric"))

    def test_a_patch_an_odd_number_of_pixels_larger_keeps_the_pixels_whole(self) -> None:
        data = {"image": torch.rand(3, 11, 12), "label": (torch.rand(1, 11, 12) > 0.5).to(torch.uint8)}
        out = affine_crop((14, 12))(dict(data))["image"]
        shifts = [np.pad(data["image"].numpy(), ((0, 0), (top, 3 - top), (0, 0)), "symmetric") for top in (1, 2)]
        assert any(np.allclose(out, shifted, atol=1e-4) for shifted in shifts)

    def test_a_flip_alone_mirrors_the_columns(self) -> None:
        data = {"image": torch.rand(3, 15, 22), "label": (torch.rand(1, 15, 22) > 0.5).to(torch.uint8)}
        out = affine_crop((15, 22), probability=1.0)(dict(data))
        torch.testing.assert_close(out["image"], data["image"].flip(2), atol=1e-5, rtol=0)
        assert torch.equal(out["label"], data["label"].flip(2))

    @pytest.mark.parametrize("magnification", [0.5, 2.0])
    def test_magnification_scales_areas_by_its_square(self, magnification: float) -> None:
        data = scene(64, 64)
        y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
        data["label"] = (y**2 + x**2 < 12**2)[None].to(torch.uint8)
        out = affine_crop((64, 64), 1.0, scale=(magnification, magnification))(data)
        areas = [float(d["label"].float().sum()) for d in (data, out)]
        if magnification < 1:  # the border mirrors: count the middle alone
            areas[1] = float(out["label"][:, 16:48, 16:48].float().sum())
        assert areas[1] / areas[0] == pytest.approx(magnification**2, rel=0.05)

    @pytest.mark.parametrize("angle", [10.0, 90.0])
    def test_rotations_stay_within_their_limit_and_keep_distances(self, angle: float) -> None:
        y, x = torch.meshgrid(torch.arange(41) - 20.0, torch.arange(41) - 20.0, indexing="ij")
        mark = torch.exp(-((y + 6) ** 2 + x**2) / 3)[None]  # a spot straight above the centre
        transform, found = affine_crop((41, 41), 1.0, angle), []
        transform.set_random_state(seed=1)
        for _ in range(40):
            spot = transform({"image": mark.expand(3, -1, -1), "label": mark > 0.5})["image"][0]
            row, column = float((spot * y).sum() / spot.sum()), float((spot * x).sum() / spot.sum())
            assert np.hypot(row, column) == pytest.approx(6, abs=0.1)
            found.append(np.degrees(np.arctan2(column, -row)))
        assert max(np.abs(found)) <= angle + 0.5
        assert min(found) < -0.7 * angle
        assert max(found) > 0.7 * angle

    def test_the_label_stays_binary_and_on_the_image(self) -> None:
        data, transform = scene(120, 160, channels=3), affine_crop((96, 96), 0.8, 180, (0.8, 1.25))
        for seed in range(20):
            transform.set_random_state(seed=seed)
            out = transform(dict(data))
            assert (out["label"].dtype, set(out["label"].unique().tolist()) <= {0, 1}) == (torch.uint8, True)
            disagreement = [
                float((out["image"][:1] > 100).ne(out["label"].roll(shift, 2) > 0).float().mean()) for shift in (0, 3)
            ]
            assert disagreement[0] < 0.005
            assert disagreement[1] > 0.01  # the check would notice a label three pixels off

    def test_each_augmentation_happens_as_often_as_asked(self) -> None:
        rows = torch.arange(16.0)[:, None].expand(16, 16)
        data = {"image": torch.stack([rows, rows.T, rows]), "label": torch.zeros(1, 16, 16)}
        transform = affine_crop((16, 16), 0.3, 45, (0.8, 1.25))
        transform.set_random_state(seed=0)
        flipped = rotated = scaled = 0
        for _ in range(1000):
            patch = transform(dict(data))["image"][:, 6:10, 6:10]
            along_x, across = float(patch[1, 0, 1] - patch[1, 0, 0]), float(patch[0, 0, 1] - patch[0, 0, 0])
            flipped += along_x < 0
            rotated += abs(across) > 1e-3
            scaled += abs(np.hypot(along_x, across) - 1) > 1e-3
        for count in (flipped, rotated, scaled):
            assert count / 1000 == pytest.approx(0.3, abs=0.06)  # sd 0.0145


class TestElasticDeformation:
    """A smooth displacement on top of the affine crop."""

    @staticmethod
    def displacement(elastic_px: float, probability: float, seed: int) -> np.ndarray:
        """By how many columns each pixel of a patch of the image's own size reads aside of its place."""
        side = 320
        columns = torch.arange(side).float().expand(1, side, side)
        transform = RandAffineCropd((side, side), probability, 0.0, (1, 1), elastic_px)
        transform.set_random_state(seed=seed)
        transform._happens = lambda: probability > 0 and elastic_px > 0 and transform.bends.pop()  # type: ignore
        transform.bends = [True, False, False, False]  # neither flipped, rotated nor scaled
        moved = transform({"image": columns, "label": (columns > 100).to(torch.uint8)})
        return (moved["image"] - columns)[0, 40:-40, 40:-40].numpy()

    def test_its_size_is_the_one_asked_for(self) -> None:
        rms = np.sqrt(np.mean([np.mean(self.displacement(6.0, 1.0, seed) ** 2) for seed in range(20)]))
        assert 3.5 < rms < 6.5  # between the knots cubic interpolation averages: at them it is 6

    def test_it_is_smooth(self) -> None:
        field = self.displacement(6.0, 1.0, 0)
        assert field.std() > 1
        assert np.abs(np.diff(field, axis=0)).max() < 0.5 and np.abs(np.diff(field, axis=1)).max() < 0.5

    def test_without_it_pixels_stay(self) -> None:
        assert np.abs(self.displacement(0.0, 0.0, 0)).max() < 1e-3

    def test_image_and_label_bend_together(self) -> None:
        data = scene(320, 320)
        transform = RandAffineCropd((256, 256), 1.0, 180.0, (0.8, 1.25), 8.0)
        transform.set_random_state(seed=0)
        for _ in range(5):
            out = transform(dict(data))
            agree = ((out["image"] > 100) == (out["label"] > 0)).float().mean()
            assert agree > 0.995 and 0.05 < out["label"].float().mean() < 0.95


class TestStain:
    """Densities of the stains vary, each on its own."""

    def test_every_stain_s_amount_is_scaled_and_shifted_within_its_limits(self) -> None:
        rng, transform = np.random.default_rng(0), RandStaind(1.0, 0.3)
        image = torch.from_numpy(rng.uniform(90, 160, (3, 16, 16))).float()  # far from 0 and 255, which are clipped to
        before = separate_stains(image.permute(1, 2, 0).numpy() / 255, hed_from_rgb)
        factors = []
        for draw in range(30):
            reseed(transform, 0, draw)
            stained = transform({"image": image, "label": image})["image"]
            after = separate_stains(stained.permute(1, 2, 0).numpy() / 255, hed_from_rgb)
            for stain in range(3):
                x, y = before[..., stain].ravel(), after[..., stain].ravel()
                keep = (x > 1e-3) & (y > 1e-3)  # scikit-image sets negative amounts to 0
                if keep.sum() < 20:
                    continue
                factor, shift = np.polyfit(x[keep], y[keep], 1)
                assert np.abs(factor * x[keep] + shift - y[keep]).max() < 1e-4
                assert 0.7 <= factor <= 1.3
                factors.append(factor)
        assert min(factors) < 0.8 and max(factors) > 1.2

    def test_an_empty_slide_stays_nearly_empty(self) -> None:
        transform, empty = RandStaind(1.0, 0.3), torch.full((3, 4, 4), 255.0)
        for draw in range(20):
            reseed(transform, 0, draw)
            assert transform({"image": empty, "label": empty})["image"].min() > 235

    def test_it_happens_as_often_as_asked(self) -> None:
        transform, image = RandStaind(0.3, 0.3), torch.full((3, 2, 2), 120.0)
        transform.set_random_state(seed=0)
        changed = sum(not torch.equal(transform({"image": image, "label": image})["image"], image) for _ in range(1000))
        assert changed / 1000 == pytest.approx(0.3, abs=0.06)  # sd 0.014


class TestColorJitter:
    """Colour changes of histology images."""

    def test_probability_0_changes_nothing(self) -> None:
        image = torch.rand(3, 5, 6) * 255
        torch.testing.assert_close(RandColorJitterd(0.0, 0.5)({"image": image})["image"], image, atol=1e-3, rtol=0)

    def test_colours_stay_within_0_and_255(self) -> None:
        transform = RandColorJitterd(1.0, 0.9)
        transform.set_random_state(seed=0)
        image = torch.rand(3, 5, 6) * 255
        for _ in range(50):
            out = transform({"image": image})["image"]
            assert out.min() >= 0
            assert out.max() <= 255

    def test_a_grey_field_changes_by_brightness_and_channel_only(self) -> None:
        transform, factors = RandColorJitterd(1.0, 0.2), []
        transform.set_random_state(seed=0)
        for _ in range(200):
            out = transform({"image": torch.full((3, 4, 4), 100.0)})["image"]
            assert torch.allclose(out, out[:, :1, :1].expand(-1, 4, 4), atol=1e-3)
            factors.append(out[:, 0, 0].numpy() / 100)
        assert np.min(factors) >= 0.8**2
        assert np.max(factors) <= 1.2**2
        assert np.std(factors) > 0.1
        assert np.abs(np.diff(factors, axis=1)).max() > 0.1  # channels differ

    def test_the_label_and_the_given_image_are_left_alone(self) -> None:
        data = scene(8, 8, channels=3)
        before = data["image"].clone()
        out = RandColorJitterd(1.0, 0.2)(data)
        assert out["label"] is data["label"]
        assert torch.equal(data["image"], before)


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
