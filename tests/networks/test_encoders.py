"""Encoders: shapes, sizes, parameter names and counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from i2net_bundle.networks.encoders import ResNetEncoder, UNetEncoder
from tests.networks.small_networks import parameter_count, randomise_batch_norms


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def map_sizes(maps: list[torch.Tensor]) -> list[tuple[int, ...]]:
    return [tuple(value.shape[1:]) for value in maps]


class TestResNetEncoder:
    @pytest.mark.parametrize(
        ("size", "skip_size", "level_sizes"),
        [
            pytest.param((64, 96), (32, 48), [(16, 24), (8, 12), (4, 6), (2, 3)], id="64x96, multiples of 32"),
            # every stride 2 rounds up: 33 -> 17 -> 9 -> 5 -> 3 -> 2, 47 -> 24 -> 12 -> 6 -> 3 -> 2
            pytest.param((33, 47), (17, 24), [(9, 12), (5, 6), (3, 3), (2, 2)], id="33x47"),
            pytest.param((2, 2), (1, 1), [(1, 1), (1, 1), (1, 1), (1, 1)], id="smallest"),
        ],
    )
    def test_stem_is_half_size_and_stages_a_quarter_to_a_thirtysecond(
        self, size: tuple[int, int], skip_size: tuple[int, int], level_sizes: list[tuple[int, int]]
    ) -> None:
        encoder = ResNetEncoder(depth=18).eval()
        with torch.no_grad():
            skip, levels = encoder(torch.randn(1, 3, *size))
        assert map_sizes([skip]) == [(64, *skip_size)]
        assert map_sizes(levels) == [(c, *s) for c, s in zip((64, 128, 256, 512), level_sizes, strict=True)]

    @pytest.mark.parametrize("deep_stem", [False, True], ids=["7x7 stem", "deep stem"])
    @pytest.mark.parametrize("depth", [18, 34, 50])
    def test_channels_are_those_announced(self, depth: int, deep_stem: bool) -> None:
        encoder = ResNetEncoder(depth, in_channels=4, deep_stem=deep_stem).to("meta")
        skip, levels = encoder(torch.empty(2, 4, 64, 64, device="meta"))
        assert map_sizes([skip]) == [(encoder.skip_channels, 32, 32)]
        assert encoder.skip_channels == (128 if deep_stem else 64)
        assert [level.shape[1] for level in levels] == list(encoder.level_channels)
        assert encoder.level_channels[-1] == (2048 if depth == 50 else 512)
        assert [level.shape[2] for level in levels] == [16, 8, 4, 2]

    @pytest.mark.parametrize(
        ("depth", "parameters"),
        [
            # torchvision's networks have 11689512, 21797672 and 25557032, their classifiers 1000 (C + 1)
            pytest.param(18, 11689512 - 1000 * 513, id="ResNet-18"),
            pytest.param(34, 21797672 - 1000 * 513, id="ResNet-34"),
            pytest.param(50, 25557032 - 1000 * 2049, id="ResNet-50"),
        ],
    )
    def test_parameters_are_torchvisions_without_the_classifier(self, depth: int, parameters: int) -> None:
        assert parameter_count(ResNetEncoder(depth)) == parameters

    def test_parameters_have_torchvisions_names(self) -> None:
        names = set(ResNetEncoder(18).state_dict())
        assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer4.1.bn2.weight"} <= names
        assert {"layer2.0.downsample.0.weight", "layer2.0.downsample.1.weight"} <= names
        assert not {"fc.weight", "conv1.bias", "layer2.0.downsample.0.bias", "layer1.0.downsample.0.weight"} & names

    def test_derived_imagenet_weights_load_strictly(self, shared: Path) -> None:
        state = torch.load(shared / "weights" / "resnet18_imagenet_derived.pt", weights_only=True)
        ResNetEncoder(18).load_state_dict(state, strict=True)

    def test_stem_is_taken_before_pooling(self) -> None:
        encoder = ResNetEncoder(18).eval()
        randomise_batch_norms(encoder)
        image = torch.randn(1, 3, 16, 16)
        bn = encoder.bn1
        convolved = F.conv2d(image, encoder.conv1.weight, stride=2, padding=3)
        expected = F.batch_norm(convolved, bn.running_mean, bn.running_var, bn.weight, bn.bias).relu()
        with torch.no_grad():
            torch.testing.assert_close(encoder(image)[0], expected)

    @pytest.mark.parametrize("depth", [0, 19, 101])
    def test_an_unknown_depth_is_refused(self, depth: int) -> None:
        with pytest.raises(ValueError, match=rf"ResNet depth must be one of \[18, 34, 50\], got {depth}"):
            ResNetEncoder(depth)

    def test_published_weights_exist_for_the_plain_stem_only(self) -> None:
        assert ResNetEncoder(18).imagenet_url == "https://download.pytorch.org/models/resnet18-f37072fd.pth"
        assert ResNetEncoder(18, deep_stem=True).imagenet_url is None


class TestUNetEncoder:
    def test_with_a_head_it_is_the_papers_unet(self) -> None:
        # Table 1: 17.26 M
        def double_conv(ins: int, mid: int, out: int) -> int:
            return 9 * ins * mid + 2 * mid + 9 * mid * out + 2 * out  # two 3×3 without bias, two normalisations

        down = [(1, 64, 64), (64, 128, 128), (128, 256, 256), (256, 512, 512), (512, 512, 512)]
        up = [(512 + 512, 512, 256), (256 + 256, 256, 128), (128 + 128, 128, 64), (64 + 64, 64, 64)]
        head = (64 + 1) * 9  # a 1×1 convolution to 9 classes
        count = parameter_count(UNetEncoder(in_channels=1)) + head
        assert count == sum(double_conv(*block) for block in down + up) + head
        assert round(count / 1e6, 3) == 17.262

    @pytest.mark.parametrize(
        ("size", "level_sizes"),
        [
            pytest.param((64, 96), [(32, 48), (16, 24), (8, 12)], id="64x96, multiples of 32"),
            # pooling rounds down: 33 -> 16 -> 8 -> 4, 47 -> 23 -> 11 -> 5
            pytest.param((33, 47), [(16, 23), (8, 11), (4, 5)], id="33x47"),
            pytest.param((16, 16), [(8, 8), (4, 4), (2, 2)], id="smallest"),
        ],
    )
    def test_skip_is_full_size_and_levels_a_half_to_an_eighth(
        self, size: tuple[int, int], level_sizes: list[tuple[int, int]]
    ) -> None:
        encoder = UNetEncoder().to("meta")
        skip, levels = encoder(torch.empty(2, 1, *size, device="meta"))
        assert map_sizes([skip]) == [(64, *size)]
        assert map_sizes(levels) == [(c, *s) for c, s in zip((64, 128, 256), level_sizes, strict=True)]
        assert encoder.skip_channels == 64
        assert encoder.level_channels == (64, 128, 256)

    @pytest.mark.parametrize("size", [(16, 24), (17, 23)], ids=["even size", "odd size"])
    def test_small_unet_equals_one_written_out(self, size: tuple[int, int]) -> None:
        encoder = UNetEncoder(2, channels=(3, 4, 5)).eval()
        randomise_batch_norms(encoder)

        def double_conv(x: torch.Tensor, block: nn.Sequential) -> torch.Tensor:
            for conv, bn in ((block[0], block[1]), (block[3], block[4])):
                x = F.conv2d(x, conv.weight, padding=1)
                x = F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias).relu()
            return x

        def upsample(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
            doubled = F.interpolate(x, size=(2 * x.shape[2], 2 * x.shape[3]), mode="bilinear", align_corners=True)
            padded = torch.zeros(*x.shape[:2], *like.shape[2:])  # one row or column at the end is left 0
            padded[:, :, : doubled.shape[2], : doubled.shape[3]] = doubled
            return padded

        image = torch.randn(1, 2, *size)
        fine = double_conv(image, encoder.stem)
        middle = double_conv(F.max_pool2d(fine, 2), encoder.down[0][1])
        coarse = double_conv(F.max_pool2d(middle, 2), encoder.down[1][1])
        level = double_conv(torch.cat([middle, upsample(coarse, middle)], 1), encoder.up[0])
        expected = double_conv(torch.cat([fine, upsample(level, fine)], 1), encoder.up[1])
        with torch.no_grad():
            skip, levels = encoder(image)
        torch.testing.assert_close(skip, expected)
        torch.testing.assert_close(levels[0], level)

    @pytest.mark.parametrize(("channels", "min_size"), [((4, 4), 2), ((4, 4, 4), 4), ((4, 4, 4, 4, 4), 16)], ids=str)
    def test_smallest_side_is_two_to_the_number_of_poolings(self, channels: tuple[int, ...], min_size: int) -> None:
        encoder = UNetEncoder(1, channels).eval()
        with torch.no_grad():
            assert encoder(torch.randn(1, 1, min_size, min_size))[0].shape == (1, 4, min_size, min_size)
