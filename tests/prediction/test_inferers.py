"""Inferers run a network on volumes and images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle import hardware
from i2net_bundle.io.options import HistologyOptions
from i2net_bundle.prediction import SlicewiseInferer, WholeImageInferer
from i2net_bundle.prediction.inferers import classify
from i2net_bundle.transforms import histology_preprocessing
from i2net_bundle.transforms.preprocessing import SCALE
from i2net_bundle.transforms.resizing import resize_images, resize_labels

NUM_CLASSES = 4


@pytest.fixture
def network() -> Iterator[nn.Module]:
    """Two convolutions that look at a pixel's neighbours, so that places and sizes matter."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        yield nn.Sequential(nn.Conv2d(2, 6, 5, padding=2), nn.Tanh(), nn.Conv2d(6, NUM_CLASSES, 3, padding=1))


def volumes(batch: int = 1, depth: int = 7) -> Tensor:
    """Volumes (B, 2, 20, 26, D)."""
    return torch.randn(batch, 2, 20, 26, depth, generator=torch.Generator().manual_seed(1))


def by_loop(inputs: Tensor, network: nn.Module, size: tuple[int, int]) -> Tensor:
    """Slice by slice, one at a time."""
    labels = torch.zeros(len(inputs), 1, *inputs.shape[2:], dtype=torch.uint8)
    for volume in range(inputs.shape[0]):
        for depth in range(inputs.shape[4]):
            image = F.interpolate(inputs[volume, :, :, :, depth][None], size, mode="bicubic", align_corners=False)
            label = network(image).argmax(1, keepdim=True).float()
            back = F.interpolate(label, inputs.shape[2:4], mode="nearest-exact")
            labels[volume, 0, :, :, depth] = back[0, 0].to(torch.uint8)
    return labels


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("size", [(32, 32), (16, 24), (20, 26)], ids=["larger", "smaller", "same"])
def test_slices_in_batches_of_any_size_equal_a_loop_over_slices(
    network: nn.Module, batch_size: int, size: tuple[int, int]
) -> None:
    found = SlicewiseInferer(size, batch_size)(volumes(), network)
    assert (found.shape, found.dtype) == ((1, 1, 20, 26, 7), torch.uint8)
    expected = by_loop(volumes(), network, size)
    assert len(expected.unique()) == NUM_CLASSES
    assert torch.equal(found, expected)


def test_volumes_of_a_batch_are_segmented_independently(network: nn.Module) -> None:
    inferer, pair = SlicewiseInferer((16, 16), 4), volumes(batch=2)
    assert torch.equal(inferer(pair, network), torch.cat([inferer(volume[None], network) for volume in pair]))


@pytest.mark.parametrize(("batch_size", "sizes"), [(3, [3, 3, 1]), (16, [7])])
def test_the_network_sees_batches_of_slices_in_its_own_size(batch_size: int, sizes: list[int]) -> None:
    seen: list[tuple[int, ...]] = []

    def network(images: Tensor) -> Tensor:
        seen.append(tuple(images.shape))
        return images

    SlicewiseInferer((16, 24), batch_size)(volumes(), network)
    assert seen == [(size, 2, 16, 24) for size in sizes]


def test_further_arguments_reach_the_network() -> None:
    def network(images: Tensor, shift: float, *, scale: float) -> Tensor:
        return torch.cat([images[:, :1] * scale + shift, images[:, :1] * 0], dim=1)

    assert SlicewiseInferer((8, 8))(volumes(), network, -1e6, scale=0.0).min() == 1
    assert WholeImageInferer()(volumes()[..., 0], network, 1e6, scale=0.0).max() == 0


def test_one_class_is_a_probability_above_a_half_on_the_network_s_grid() -> None:
    found = SlicewiseInferer((40, 52))(volumes()[:, :1], lambda images: images)
    by_hand = resize_images(volumes()[0, :1].permute(3, 0, 1, 2), (40, 52)).sigmoid() > 0.5
    expected = resize_labels(by_hand.to(torch.uint8), (20, 26)).permute(1, 2, 3, 0)[None]
    assert torch.equal(found, expected)


@pytest.mark.parametrize("inferer", [SlicewiseInferer((20, 26)), WholeImageInferer()], ids=["slices", "image"])
def test_networks_get_plain_tensors_from_meta_tensors(inferer: SlicewiseInferer | WholeImageInferer) -> None:
    inputs = MetaTensor(volumes() if isinstance(inferer, SlicewiseInferer) else volumes()[..., 0])
    kinds = set()

    def network(images: Tensor) -> Tensor:
        kinds.add(type(images))
        return images

    assert torch.equal(inferer(inputs, network), inferer(inputs.as_tensor(), network))
    assert kinds == {Tensor}


@pytest.mark.parametrize("shape", [(1, 2, 20, 26), (3, 2, 17, 9)], ids=["one", "batch of odd size"])
def test_a_whole_image_is_segmented_in_one_pass_at_its_own_size(network: nn.Module, shape: tuple[int, ...]) -> None:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    found = WholeImageInferer()(images, network)
    assert (found.shape, found.dtype) == ((shape[0], 1, *shape[2:]), torch.uint8)
    assert torch.equal(found, network(images).argmax(1, keepdim=True).to(torch.uint8))


def test_a_sigmoid_s_threshold_is_a_half() -> None:
    probability = torch.tensor([0.01, 0.4999, 0.5001, 0.99]).reshape(1, 1, 2, 2)
    assert WholeImageInferer()(probability.logit(), nn.Identity()).flatten().tolist() == [0, 0, 1, 1]


def test_classes_beyond_the_first_are_told_apart_by_the_largest_logit() -> None:
    logits = torch.tensor([[-3.0, -1, -2], [5, 1, 2], [0, 9, 4]]).T[None, :, :, None]  # (1, 3, 3, 1)
    assert classify(logits).flatten().tolist() == [1, 0, 1]


@pytest.mark.parametrize("progress", [False, True])
def test_the_progress_bar_is_quiet_when_not_on_a_terminal(
    network: nn.Module, progress: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    SlicewiseInferer((8, 8), progress=progress)(volumes(), network)
    assert capfd.readouterr() == ("", "")


# Images at another scale


def scaled(images: Tensor, scale: float) -> MetaTensor:
    return MetaTensor(images, meta={SCALE: scale})


@pytest.mark.parametrize(
    ("scale", "seen"),
    [(0.31 / 0.62005, (10, 13)), (2.0, (40, 52)), (0.01, (1, 1)), (1.0, (20, 26))],
    ids=["half", "twice", "never nothing", "the same"],
)
def test_the_network_sees_the_image_at_the_training_scale_and_the_mask_has_the_file_s_size(
    scale: float, seen: tuple[int, int]
) -> None:
    images, shown = volumes()[..., 0], []

    def network(inputs: Tensor) -> Tensor:
        shown.append(inputs)
        return inputs

    mask = WholeImageInferer()(scaled(images, scale), network)
    (inputs,) = shown
    expected = images
    if seen != (20, 26):
        expected = F.interpolate(images, seen, mode="bicubic", align_corners=False, antialias=True)
    assert torch.equal(inputs, expected)
    assert (mask.shape, mask.dtype) == ((1, 1, 20, 26), torch.uint8)


def test_a_large_object_keeps_its_place_at_another_scale() -> None:
    images = torch.zeros(1, 1, 64, 80)
    images[..., 16:48, 8:40] = 1
    mask = WholeImageInferer()(scaled(images, 0.5), lambda inputs: inputs - 0.5)
    assert (mask.as_tensor() != images).float().mean() < 0.01
    assert mask[0, 0, 18:46, 10:38].all()


def test_the_logits_are_resized_and_not_the_labels() -> None:
    # of two columns the left is 3, the right -1; halfway lies 1, above 0, so the edge is right of the middle
    logits = torch.tensor([3.0, -1.0]).reshape(1, 1, 1, 2)
    mask = WholeImageInferer()(scaled(torch.zeros(1, 1, 1, 40), 0.05), lambda _: logits)
    assert mask.sum() > 21
    assert torch.equal(mask[0, 0, 0].as_tensor(), mask[0, 0, 0].as_tensor().sort(descending=True).values)


@pytest.mark.parametrize("inputs", [volumes()[..., 0], MetaTensor(volumes()[..., 0])], ids=["plain", "no scale"])
def test_without_a_scale_the_network_sees_the_image_itself(inputs: Tensor, network: nn.Module) -> None:
    found = WholeImageInferer()(inputs, network)
    assert torch.equal(torch.as_tensor(found), network(volumes()[..., 0]).argmax(1, keepdim=True).to(torch.uint8))


@pytest.mark.parametrize(
    ("resample", "seen"), [(True, (23, 30)), (False, (46, 60))], ids=["with resampling", "without"]
)
def test_a_file_s_scale_reaches_the_inferer_through_the_loader(
    resample: bool, seen: tuple[int, int], tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (46, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", dpi=(25400 / 0.31, 25400 / 0.31))
    reading = histology_preprocessing(("image",), HistologyOptions(resample=resample))
    (batch,) = DataLoader(Dataset([{"image": str(tmp_path / "a.png")}], reading), batch_size=1)
    shapes = []

    def network(inputs: Tensor) -> Tensor:
        shapes.append(tuple(inputs.shape))
        return inputs[:, :1]

    mask = WholeImageInferer()(batch["image"], network)
    assert shapes == [(1, 3, *seen)]
    assert mask.shape == (1, 1, 46, 60)


@pytest.mark.parametrize("in_hardware", [False, True], ids=["emulated", "in hardware"])
@pytest.mark.parametrize("inferer", [SlicewiseInferer, WholeImageInferer])
def test_amp_uses_bfloat16_only_on_devices_that_support_it(
    inferer: type, in_hardware: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda device_type: in_hardware)
    seen = set()

    def network(images: Tensor) -> Tensor:
        product = images.transpose(2, 3) @ images
        seen.add(product.dtype)
        return images

    inputs = volumes() if inferer is SlicewiseInferer else volumes()[..., 0]
    assert torch.equal(inferer(amp=True)(inputs, network), inferer()(inputs, network))
    assert seen == {torch.float32, torch.bfloat16 if in_hardware else torch.float32}


def test_the_first_of_equal_logits_wins() -> None:
    logits = torch.tensor([1.0, 3.0, 3.0, 2.0]).reshape(1, 4, 1, 1)
    assert classify(logits).item() == 1


@pytest.mark.parametrize("size", [224, [224], [1, 2, 3]], ids=str)
def test_a_size_that_is_not_rows_and_columns_is_refused(size: Any) -> None:
    with pytest.raises(ValueError, match=r"image_size must be two numbers, rows and columns such as \[224,224\]; got"):
        SlicewiseInferer(size)


class TestWindows:
    """Sliding windows of a whole image."""

    def test_logits_of_windows_are_averaged_where_they_overlap(self) -> None:
        seen: list[tuple[int, ...]] = []

        def network(images: Tensor) -> Tensor:
            seen.append(tuple(images.shape[2:]))
            return torch.full_like(images, float(len(seen)))

        inferer = WholeImageInferer(window=[8, 6], overlap=0.5)
        inferer.readout = lambda logits: logits
        found = inferer(torch.zeros(1, 1, 8, 12), network)
        assert seen == [(8, 6)] * 3
        assert found[0, 0, 0].tolist() == [1, 1, 1, 1.5, 1.5, 1.5, 2.5, 2.5, 2.5, 3, 3, 3]

    @pytest.mark.parametrize("size", [(20, 26), (9, 40), (5, 7)], ids=["larger", "wider", "smaller"])
    def test_a_network_that_sees_single_pixels_segments_as_in_one_pass(self, size: tuple[int, int]) -> None:
        images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
        one_by_one = nn.Conv2d(3, 4, 1)
        found = WholeImageInferer(window=[12, 10], average_flips=True)(images, one_by_one)
        assert torch.equal(found, WholeImageInferer()(images, one_by_one))

    def test_a_window_is_padded_to_the_divisor(self) -> None:
        def network(images: Tensor) -> Tensor:
            assert tuple(images.shape[2:]) == (8, 12)
            return images

        assert WholeImageInferer(window=[7, 9], divisor=4)(torch.zeros(1, 2, 14, 18), network).shape == (1, 1, 14, 18)

    @pytest.mark.parametrize("window", [[769], [769, 0], 769])
    def test_a_window_that_is_no_size_is_refused(self, window: Any) -> None:
        with pytest.raises(ValueError, match="window must be two positive numbers"):
            WholeImageInferer(window=window)
