"""Views contain what the network saw and did, at its own size, and change nothing about it."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from i2net_bundle.networks import I2Net
from i2net_bundle.prediction import SlicewiseInferer, WholeImageInferer
from i2net_bundle.reports.gallery import draw_case
from i2net_bundle.reports.views import (
    WHOLE_IMAGE,
    View,
    load_views,
    make_views,
    pixel_spacing,
    save_views,
    spread_slices,
    watch,
)
from i2net_bundle.transforms.preprocessing import SCALE
from i2net_bundle.transforms.resizing import resize_images
from tests.networks.small_networks import small_i2net
from tests.reports.runs import make_view


@pytest.fixture(scope="module")
def network() -> I2Net:
    torch.manual_seed(0)
    return small_i2net(3, 4)


def test_a_volumes_slices_pass_as_the_inferer_shows_them(network: I2Net) -> None:
    volume = torch.rand(1, 20, 30, 9)
    forward = watch(network, SlicewiseInferer((16, 24), batch_size=2), volume, [1, 4, 8])
    network.eval()
    for number, index in enumerate((1, 4, 8)):
        expected = resize_images(volume[None, ..., index], (16, 24))
        logits, gates = network.forward_with_gates(expected)
        assert torch.equal(forward.inputs[number], expected[0])
        assert torch.allclose(forward.logits[number], logits[0], atol=1e-5)
        assert torch.allclose(forward.gates[number], gates[0], atol=1e-5)


def test_an_image_passes_at_the_scale_that_its_file_asks_for(network: I2Net) -> None:
    image = MetaTensor(torch.rand(1, 32, 48), meta={SCALE: 0.5})
    forward = watch(network, WholeImageInferer(), image, None)
    assert forward.inputs.shape == (1, 1, 16, 24)
    view = make_views(forward, torch.ones(1, 32, 48), torch.zeros(1, 32, 48), None)[0]
    assert view.image.shape == view.truth.shape == (16, 24)
    assert view.spacing == (2.0, 2.0) and view.index == WHOLE_IMAGE


def test_of_flips_the_image_itself_is_kept(network: I2Net) -> None:
    image = torch.rand(1, 16, 16)
    forward = watch(network, WholeImageInferer(average_flips=True), image, None)
    assert len(forward.inputs) == 1 and torch.equal(forward.inputs[0], image)


def test_of_windows_the_records_are_of_one_pass(network: I2Net) -> None:
    image, inferer = torch.rand(1, 16, 32), WholeImageInferer(window=[16, 16])
    forward = watch(network, inferer, image, None)
    assert forward.inputs.shape == (1, 1, 16, 32) and inferer.window == [16, 16]


def test_watching_leaves_a_training_network_as_it_was(network: I2Net) -> None:
    network.train()
    before = copy.deepcopy(network.state_dict())
    forward = watch(network, WholeImageInferer(), torch.rand(1, 16, 16), None)
    assert network.training and not forward.logits.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_truth_and_prediction_come_to_the_views_size_by_nearest_neighbour(network: I2Net) -> None:
    truth = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    truth[0, :16, :, 1] = 3
    forward = watch(network, SlicewiseInferer((16, 16)), torch.rand(1, 32, 32, 3), [0, 1])
    views = make_views(forward, truth, truth + 1, [0, 1], spacing=(0.5, 0.75))
    assert [view.index for view in views] == [0, 1]
    assert not views[0].truth.any() and (views[1].truth[:8] == 3).all() and not views[1].truth[8:].any()
    assert np.array_equal(views[1].prediction, views[1].truth + 1)
    assert views[0].spacing == (1.0, 1.5)  # twice the pixel
    assert views[0].image.dtype == np.uint8 and views[0].gates.dtype == np.float16


def test_long_images_are_made_smaller(network: I2Net) -> None:
    forward = watch(network, WholeImageInferer(), torch.rand(1, 32, 64), None)
    view = make_views(forward, torch.zeros(1, 32, 64), torch.zeros(1, 32, 64), None, max_side=16)[0]
    assert view.truth.shape == view.image.shape == (8, 16) and view.spacing == (4.0, 4.0)


def test_spacing_is_that_of_the_affine() -> None:
    assert pixel_spacing(MetaTensor(torch.zeros(1, 4, 4, 4), affine=torch.diag(torch.tensor([2.0, 3, 5, 1])))) == (2, 3)
    assert pixel_spacing(torch.zeros(1, 4, 4)) == (1, 1)


def test_a_network_without_gates_gives_views_without_them(tmp_path: Path) -> None:
    network = torch.nn.Conv2d(1, 3, 3, padding=1)
    forward = watch(network, WholeImageInferer(), torch.rand(1, 16, 20), None)
    (view,) = make_views(forward, torch.zeros(1, 16, 20), torch.zeros(1, 16, 20), None)
    assert len(view.gates) == 0 and forward.logits.shape == (1, 3, 16, 20)
    save_views(tmp_path / "case.npz", [view])
    assert len(load_views(tmp_path / "case.npz")[0].gates) == 0
    figure = draw_case([view], ["background", "one", "two"], "case")
    assert len(figure.get_axes()) == 4  # image, truth, prediction, errors


@pytest.mark.parametrize("inferer", [WholeImageInferer(divisor=16), SlicewiseInferer((17, 23), divisor=16)])
def test_padding_is_not_part_of_a_view(network: I2Net, inferer: Any) -> None:
    sliced = isinstance(inferer, SlicewiseInferer)
    image = torch.rand(1, 17, 23, 4) if sliced else torch.rand(1, 17, 23)
    forward = watch(network, inferer, image, [1, 2] if sliced else None)
    assert forward.inputs.shape[2:] == forward.logits.shape[2:] == (17, 23)
    assert forward.gates.shape[2:] == (9, 12)  # of 16 × 16 cells of the padded 32 × 32
    assert inferer.divisor == 16


@pytest.mark.parametrize("color", [False, True])
def test_views_come_back_as_they_were_saved(color: bool, tmp_path: Path) -> None:
    views = [make_view(seed=seed, color=color) for seed in (0, 1)]
    save_views(tmp_path / "case.npz", views)
    for found, expected in zip(load_views(tmp_path / "case.npz"), views, strict=True):
        for name in ("image", "truth", "prediction", "gates"):
            assert np.array_equal(getattr(found, name), getattr(expected, name))
        assert found.spacing == expected.spacing and found.index == expected.index
        assert found.letters == expected.letters


def test_views_of_version_0_1_have_no_letters(tmp_path: Path) -> None:
    save_views(tmp_path / "case.npz", [make_view()])
    with np.load(tmp_path / "case.npz") as file:
        np.savez(tmp_path / "old.npz", **{name: file[name] for name in file if name != "letters"})
    assert [view.letters for view in load_views(tmp_path / "old.npz")] == [("", "")]


def test_a_broken_file_of_views_is_named(tmp_path: Path) -> None:
    save_views(tmp_path / "case.npz", [make_view()])
    whole = (tmp_path / "case.npz").read_bytes()
    (tmp_path / "case.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"case\.npz is damaged or contains no views .*Evaluate again"):
        load_views(tmp_path / "case.npz")


def test_entropy_is_largest_where_no_learner_is_preferred_and_finite_at_zero() -> None:
    gates = np.zeros((4, 1, 2), np.float16)
    gates[:, 0, 0], gates[0, 0, 1] = 0.25, 1
    empty = np.zeros((1, 2), np.uint8)
    view = View(empty, empty, empty, gates, (1.0, 1.0))
    assert view.entropy() == pytest.approx(np.array([[math.log(4), 0]]), abs=1e-6)


@pytest.mark.parametrize(("depth", "count"), [(148, 16), (3, 16), (16, 16), (1, 1)])
def test_spread_slices_are_different_ones_of_the_volume(depth: int, count: int) -> None:
    slices = spread_slices(depth, count)
    assert len(set(slices)) == len(slices) == min(depth, count)
    assert min(slices) >= 0 and max(slices) < depth
    assert np.ptp(np.diff(slices)) <= 1 if len(slices) > 1 else True
