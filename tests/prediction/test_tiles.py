"""Tiles of a large image give the result of one pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from i2net_bundle.networks import glas_i2net
from i2net_bundle.prediction.inferers import WholeImageInferer, classify
from i2net_bundle.prediction.padding import padded
from i2net_bundle.prediction.tiles import Read, infer_tiles, tiles
from i2net_bundle.transforms.preprocessing import SCALE
from tests.networks.small_networks import randomise_batch_norms

DIVISOR, MARGIN = 32, 256  # of configs/histology.yaml


@pytest.fixture(scope="module")
def glas() -> Iterator[nn.Module]:
    """The GlaS network with random weights, as a trained one is used."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = glas_i2net()
        randomise_batch_norms(network)
        yield network.eval().requires_grad_(False)


class Blur(nn.Module):
    """A network that looks 2 pixels far: cheap, and enough to tell margins and seams."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images.sum(1, keepdim=True), 5, stride=1, padding=2)


def picture(height: int, width: int) -> np.ndarray:
    """Colours (H, W, 3) without any pattern that repeats."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def reader(image: np.ndarray) -> Read:
    return lambda rows, cols: image[rows, cols]


def normalize(pixels: Tensor) -> Tensor:
    return pixels.float() / 128 - 1


def logits(output: Tensor) -> Tensor:
    return output


def one_pass(image: np.ndarray, network: Callable[[Tensor], Tensor]) -> np.ndarray:
    with torch.inference_mode():
        return network(normalize(torch.from_numpy(image).permute(2, 0, 1))[None])[0].numpy()


@pytest.mark.parametrize(
    ("height", "width", "core", "margin"),
    [(64, 64, 32, 32), (100, 70, 32, 64), (31, 500, 64, 0), (1, 1, 1024, 256), (640, 768, 256, 256)],
)
def test_every_pixel_lies_in_one_core_whose_window_contains_the_margin_as_far_as_the_image_goes(
    height: int, width: int, core: int, margin: int
) -> None:
    covered = np.zeros((height, width), int)
    for tile in tiles(height, width, core, margin, DIVISOR):
        covered[tile.core] += 1
        for inner, window, kept, side in zip(tile.core, tile.window, tile.kept, (height, width), strict=True):
            assert window.start % DIVISOR == 0
            assert window.stop == side or (window.stop - window.start) % DIVISOR == 0
            assert window.start == max(0, inner.start - margin)
            assert window.stop == min(side, inner.stop + margin)
            assert (window.start + kept.start, window.start + kept.stop) == (inner.start, inner.stop)
    assert (covered == 1).all()


@pytest.mark.parametrize(("core", "margin"), [(0, 32), (48, 32), (64, 16), (64, -32)])
def test_tiles_off_the_strides_are_refused(core: int, margin: int) -> None:
    with pytest.raises(ValueError, match=rf"core {core} and margin {margin} must be multiples of 32"):
        list(tiles(100, 100, core, margin, DIVISOR))


@pytest.mark.slow
def test_a_logit_reaches_251_pixels_back_and_220_ahead_and_the_margin_covers_both(glas: nn.Module) -> None:
    image = torch.randn(1, 3, 576, 576, generator=torch.Generator().manual_seed(0)).requires_grad_()
    row, col = 9 * DIVISOR + 2, 9 * DIVISOR + 29  # the remainders that reach farthest, by the arithmetic in the module
    (gradient,) = torch.autograd.grad(glas(image)[0, 0, row, col], image)
    seen = gradient[0].abs().sum(0)
    rows, cols = seen.sum(1).nonzero()[:, 0], seen.sum(0).nonzero()[:, 0]
    assert (row - int(rows.min()), int(cols.max()) - col) == (251, 220)
    assert MARGIN - DIVISOR < 251 <= MARGIN


@pytest.mark.slow
@pytest.mark.parametrize("size", [(768, 640), (757, 619)], ids=str)
def test_tiles_give_the_logits_of_one_pass_and_would_not_with_a_smaller_margin(
    glas: nn.Module, size: tuple[int, int]
) -> None:
    image = picture(*size)
    whole = one_pass(image, padded(glas, DIVISOR))
    settings = {"normalize": normalize, "core": 256, "divisor": DIVISOR, "progress": False}
    found = infer_tiles(reader(image), size, glas, logits, **settings, margin=MARGIN)
    assert np.abs(found - whole).max() < 1e-4
    cut = infer_tiles(reader(image), size, glas, logits, **settings, margin=64)
    assert np.abs(cut - whole).max() > 1e-2
    assert np.ptp(whole) > 0.1  # else anything would be within the tolerance


def test_images_are_padded_to_the_divisor() -> None:
    image = picture(70, 45)
    edged = np.pad(image, ((0, 26), (0, 19), (0, 0)), mode="edge")
    sizes = []

    def network(images: Tensor) -> Tensor:
        sizes.append(tuple(images.shape[2:]))
        return Blur()(images)

    found = infer_tiles(
        reader(image), (70, 45), network, logits, normalize=normalize, divisor=32, core=32, margin=32, progress=False
    )
    assert np.allclose(found, one_pass(edged, Blur())[:, :70, :45], atol=1e-6)
    assert set(sizes) == {(64, 64), (96, 64)}


@pytest.mark.parametrize("scale", [0.4, 0.77, 1.6], ids=["2.5 times smaller", "a little smaller", "larger"])
def test_a_resized_image_has_no_seams(scale: float) -> None:
    image = np.kron(picture(20, 17), np.ones((10, 10, 1), np.uint8))  # 200 × 170
    settings = {"normalize": normalize, "margin": 32, "divisor": 32, "scale": scale, "progress": False}
    whole = infer_tiles(reader(image), (200, 170), Blur(), logits, core=1024, **settings)
    tiled = infer_tiles(reader(image), (200, 170), Blur(), logits, core=32, **settings)
    assert whole.shape == (1, 200, 170)
    assert np.ptp(whole) > 1
    assert np.abs(tiled - whole).max() < 1e-4


def test_tiles_are_resized_like_whole_images() -> None:
    image = np.kron(picture(24, 16), np.ones((10, 10, 1), np.uint8))  # 240 × 160, at 0.4 96 × 64: multiples of 32
    inferer = WholeImageInferer()
    inferer.readout = logits
    pixels = MetaTensor(normalize(torch.from_numpy(image).permute(2, 0, 1))[None], meta={SCALE: 0.4})
    whole = np.asarray(inferer(pixels, Blur()))[0]
    tiled = infer_tiles(
        reader(image), (240, 160), Blur(), logits, normalize=normalize, scale=0.4, core=32, margin=32, progress=False
    )
    assert np.ptp(whole) > 1
    assert np.abs(tiled - whole).max() < 1e-4


def test_the_readouts_maps_are_kept_in_its_dtype() -> None:
    def readout(output: Tensor) -> Tensor:
        return torch.cat([classify(output).half(), output.half()], dim=1)

    image = picture(64, 96)
    found = infer_tiles(
        reader(image), (64, 96), Blur(), readout, normalize=normalize, core=32, margin=32, progress=False
    )
    assert (found.shape, found.dtype) == ((2, 64, 96), np.float16)
    assert set(np.unique(found[0])) == {0, 1}
    assert np.array_equal(found[0] > 0, found[1] > 0)


def short_of_memory(largest: int) -> Callable[[Tensor], Tensor]:
    """A network whose device holds images of at most ``largest`` pixels."""

    def network(images: Tensor) -> Tensor:
        if images[0, 0].numel() > largest:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return Blur()(images)

    return network


def test_cores_are_halved_until_memory_suffices_and_the_result_is_the_same(caplog: pytest.LogCaptureFixture) -> None:
    image = picture(600, 1000)
    settings = {"normalize": normalize, "margin": 32, "progress": False}
    expected = infer_tiles(reader(image), (600, 1000), Blur(), logits, **settings)
    with caplog.at_level(logging.WARNING):
        found = infer_tiles(
            reader(image), (600, 1000), short_of_memory(321 * 321), logits, **settings, core=1024
        )  # 256 + 2 · 32 pixels
    assert np.allclose(found, expected, atol=1e-6)
    assert [record.getMessage() for record in caplog.records] == [
        "tiles of 1024 × 1024 pixels do not fit into memory: continuing with 512 × 512",
        "tiles of 512 × 512 pixels do not fit into memory: continuing with 256 × 256",
    ]


def test_a_smallest_tile_that_does_not_fit_into_memory_is_an_error_with_advice() -> None:
    with pytest.raises(
        torch.OutOfMemoryError,
        match=r"core of 128 × 128 pixels, does not fit into the memory of cpu\. Close other programs",
    ):
        infer_tiles(
            reader(picture(300, 300)),
            (300, 300),
            short_of_memory(99),
            normalize=normalize,
            margin=32,
            core=512,
            progress=False,
        )


def test_an_empty_image_is_refused() -> None:
    with pytest.raises(ValueError, match="0 × 5 pixels cannot be segmented"):
        infer_tiles(reader(picture(1, 5)), (0, 5), Blur(), normalize=normalize, margin=32, progress=False)
