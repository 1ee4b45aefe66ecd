"""Device and memory format of networks in training and prediction; results do not depend on them."""

from __future__ import annotations

import shutil

import pytest
import torch

from i2net_bundle import hardware
from i2net_bundle.hardware import slices_at_a_time, usable_device
from i2net_bundle.networks import glas_i2net
from i2net_bundle.networks.placement import for_inference, for_training


def lies_channels_last(network: torch.nn.Module) -> bool:
    """Whether the convolutions of a network whose filters have several rows and columns do."""
    filters = [p for p in network.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    return all(p.is_contiguous(memory_format=torch.channels_last) for p in filters)


@pytest.mark.parametrize("avx512", [True, False], ids=["AVX-512", "AVX2"])
def test_training_has_channels_last_on_cpus_with_avx512_alone(avx512: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cpu_capabilities", lambda: {"avx512_f": avx512})
    network = glas_i2net()
    assert for_training(network, "cpu") is network
    assert lies_channels_last(network) is avx512


def test_prediction_has_channels_last_everywhere() -> None:
    assert lies_channels_last(for_inference(glas_i2net(), torch.device("cpu")))


@pytest.mark.parametrize("name", ["foo", "cuda:99"])
def test_an_unknown_device_is_refused_with_a_list_of_those_present(name: str) -> None:
    assert usable_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=f"This machine has no device '{name}'. Choose one of: cpu"):
        usable_device(name)


def test_gradients_do_not_depend_on_the_layout() -> None:
    # in float64: few samples per channel amplify the rounding of float32, whose size differs between processors
    torch.manual_seed(0)
    image, network = torch.randn(2, 3, 64, 64, dtype=torch.float64), glas_i2net().double()
    gradients = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        network.to(memory_format=memory_format).zero_grad()
        network(image).square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(gradients[1][name], gradient, rtol=0, atol=1e-10 * max(scale, 1e-6), msg=name)


def test_a_cpu_takes_few_slices_at_a_time_and_a_gpu_many() -> None:
    assert slices_at_a_time(torch.device("cpu")) == 2
    assert slices_at_a_time(torch.device("cuda")) == 24


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_gives_the_same_logits_under_the_same_names() -> None:
    torch.manual_seed(0)
    network, image = glas_i2net().eval(), torch.randn(1, 3, 64, 96)
    names = list(network.state_dict())
    with torch.no_grad():
        expected = network(image)
        compiled = for_inference(network, "cpu", compile=True)
        torch.testing.assert_close(compiled(image), expected, rtol=1e-4, atol=1e-5)
    assert list(compiled.state_dict()) == names
