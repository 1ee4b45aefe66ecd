"""Networks that need sides divisible by a number accept images of any size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.networks.nets import UNet
from torch import Tensor, nn
from torch.nn import functional as F

from i2net_bundle.networks import glas_i2net, synapse_i2net
from i2net_bundle.prediction import PaddedInferer, SlicewiseInferer, WholeImageInferer
from i2net_bundle.prediction.padding import padded
from tests.networks.small_networks import small_i2net


class Picky(nn.Module):
    """Refuses sides that 4 does not divide, as networks that halve twice do."""

    def forward(self, images: Tensor) -> Tensor:
        assert not any(side % 4 for side in images.shape[2:]), images.shape
        return images * 2


def test_images_are_replicate_padded_and_logits_cropped() -> None:
    seen: list[Tensor] = []

    def network(images: Tensor) -> Tensor:
        seen.append(images)
        return images * 2

    images = torch.rand(2, 3, 5, 7)
    assert torch.equal(padded(network, 4)(images), images * 2)
    assert torch.equal(seen[0], F.pad(images, (0, 1, 0, 3), mode="replicate"))


@pytest.mark.parametrize(("divisor", "shape"), [(1, (5, 7)), (4, (8, 12))])
def test_images_that_need_no_padding_are_unchanged(divisor: int, shape: tuple[int, int]) -> None:
    images = torch.rand(1, 1, *shape)
    assert padded(lambda seen: seen, divisor)(images) is images


def test_gates_that_cover_the_image_are_kept() -> None:
    network = small_i2net()
    image = torch.rand(1, 1, 17, 9)
    logits, gates = padded(network.forward_with_gates, 16)(image)
    whole = network.forward_with_gates(F.pad(image, (0, 7, 0, 15), mode="replicate"))[1]  # 16 × 8 cells of 32 × 16
    assert logits.shape == (1, 2, 17, 9) and gates.shape == (1, 3, 9, 5)
    assert torch.equal(gates, whole[:, :, :9, :5])
    assert padded(lambda images: (images, None), 16)(image)[1] is None


@pytest.mark.parametrize("size", [(1, 1), (17, 23)], ids=str)
@pytest.mark.parametrize(
    "inferer",
    [
        PaddedInferer(4),
        SlicewiseInferer((17, 23), divisor=4),
        SlicewiseInferer((17, 23), batch_size=1, amp=True, divisor=4),
        WholeImageInferer(divisor=4),
        WholeImageInferer(average_flips=True, divisor=4),
    ],
    ids=["training", "slices", "bfloat16", "image", "flips"],
)
def test_every_inferer_pads(inferer: Any, size: tuple[int, int]) -> None:
    shape = (*size, 3) if isinstance(inferer, SlicewiseInferer) else size
    assert inferer(torch.rand(1, 2, *shape), Picky()).shape[2:] == shape


@pytest.mark.parametrize("divisor", [0, -1, 1.5, True, "16"])
@pytest.mark.parametrize("inferer", [PaddedInferer, SlicewiseInferer, WholeImageInferer])
def test_an_invalid_divisor_is_refused(inferer: Any, divisor: Any) -> None:
    with pytest.raises(ValueError, match="divisor must be a positive integer"):
        inferer(divisor=divisor)


NETWORKS = {
    "ct": (lambda: synapse_i2net(out_channels=2), 1, 16),
    "histology": (lambda: glas_i2net(out_channels=2), 3, 32),
    "unet": (lambda: UNet(2, 1, 2, (4, 8, 8, 8, 8), (2, 2, 2, 2), num_res_units=2, norm="batch"), 1, 16),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(1, 1), (97, 61)], ids=str)
def test_the_shipped_networks_take_images_of_any_size(name: str, size: tuple[int, int]) -> None:
    make, channels, divisor = NETWORKS[name]
    network = make().eval()
    with torch.inference_mode():
        found = WholeImageInferer(divisor=divisor)(torch.rand(1, channels, *size), network)
    assert found.shape == (1, 1, *size)
