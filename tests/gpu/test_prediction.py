"""Prediction on a GPU: the masks of the CPU, tiles without seams, and images that do not fit into its memory."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from i2net_bundle.data.phantoms import make_ct_phantoms, make_gland_phantoms
from i2net_bundle.networks import for_inference, glas_i2net, synapse_i2net
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.prediction.tiles import infer_tiles


@pytest.fixture
def image_and_weights(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A phantom, and weights that tell classes apart at random."""
    task = request.param
    if task == "ct":
        make_ct_phantoms(tmp_path / "data", 1, 0, 1, shape=(40, 36, 8), spacing_mm=(9, 9, 20))
    else:
        make_gland_phantoms(tmp_path / "data", 1, 0, 1, size=(96, 128))
    image = next((tmp_path / "data" / ("imagesTs" if task == "ct" else "images")).iterdir())
    torch.manual_seed(0)
    network = synapse_i2net() if task == "ct" else glas_i2net()
    torch.nn.init.normal_(network.head.conv.weight, std=3)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    return image, tmp_path / "model.pt"


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("image_and_weights", "task"), [("ct", "ct"), ("histology", "histology")], indirect=["image_and_weights"]
)
def test_masks_are_the_cpus(image_and_weights: tuple[Path, Path], task: str, device: torch.device) -> None:
    image, weights = image_and_weights
    overrides = {"image_size": [32, 32]} if task == "ct" else {}
    on_cpu, on_device = (
        Predictor(weights, task, device=place, overrides=overrides).predict(image).mask for place in ("cpu", device)
    )
    assert on_device.shape == on_cpu.shape
    assert np.mean(on_device == on_cpu) > 0.999


@pytest.mark.gpu
def test_tiles_are_one_pass(device: torch.device) -> None:
    torch.manual_seed(0)
    network = for_inference(glas_i2net().eval().requires_grad_(False), device)
    image = np.random.default_rng(0).integers(0, 256, (512, 640, 3), dtype=np.uint8)
    with torch.inference_mode():
        whole = network(normalize(torch.from_numpy(image).permute(2, 0, 1)[None].to(device)))[0].cpu().numpy()
    tiled = infer_tiles(
        lambda rows, cols: image[rows, cols],
        image.shape[:2],
        network,
        lambda output: output,
        normalize=normalize,
        margin=256,
        divisor=32,
        core=256,
        device=device,
        progress=False,
    )
    assert np.ptp(whole) > 0.1
    assert np.abs(tiled - whole).max() < 1e-3 * np.ptp(whole)


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.float() / 128 - 1


@pytest.mark.gpu
def test_an_image_beyond_the_gpus_memory_is_segmented_on_the_cpu(
    gpu: torch.device, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_gland_phantoms(tmp_path / "data", 1, 0, 1, size=(512, 640))
    image = next((tmp_path / "data" / "images").iterdir())
    torch.manual_seed(0)
    torch.save(glas_i2net().state_dict(), tmp_path / "model.pt")
    predictor = Predictor(tmp_path / "model.pt", "histology", device=gpu)
    gc.collect()
    torch.cuda.empty_cache()
    limit = (torch.cuda.memory_reserved(gpu) + 4 * 2**20) / torch.cuda.get_device_properties(gpu).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit), gpu)
    try:
        mask = predictor.predict(image).mask
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)
    assert mask.shape[:2] == (512, 640)
    assert any("This image is segmented on the CPU." in message for message in caplog.messages)
