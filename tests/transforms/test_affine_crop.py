"""Patches of histology images are cut at random, turned, scaled and bent, image and label together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from i2net_bundle.transforms.augmentation import RandAffineCropd
from tests.transforms.scenes import scene


def affine_crop(size: tuple[int, int], probability: float = 0.0, rotation: float = 0.0, scale: Any = (1, 1)) -> Any:
    return RandAffineCropd(size, probability, rotation, scale)


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
