"""Stains and colours of histology images vary within their limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import hed_from_rgb, separate_stains

from i2net_bundle.transforms.augmentation import RandColorJitterd, RandStaind, reseed
from tests.transforms.scenes import scene


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
