"""The networks of Table 1: their counts beside the paper's, their blocks, and any input size."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from i2net_bundle.networks import glas_i2net, peer_network, synapse_i2net
from i2net_bundle.networks.counting import paper_macs, parameter_count
from i2net_bundle.networks.peers.blocks import warp
from i2net_bundle.networks.peers.carafe import reassemble
from i2net_bundle.networks.peers.deconvolution import DeconvolutionDecoder
from i2net_bundle.networks.peers.network import NAMES, TRUNKS

SYNAPSE_PAPER = {  # millions of parameters and GMAC as printed, on the paper's own trunk
    "bilinear": (15.31, 16.11),
    "nearest": (15.31, 16.11),
    "deconvolution": (16.29, 26.48),
    "unet": (17.26, 30.66),
    "carafe": (17.46, 41.88),
    "sfnet": (19.77, 177.73),
    "alignseg": (21.61, 194.78),
    "ifa": (15.51, 24.32),
    "iosnet": (15.49, 23.08),
}
EQUAL_TRUNK = {
    "bilinear": (17.266, 30.86),
    "deconvolution": (17.696, 35.76),
    "ifa": (17.457, 39.07),
    "iosnet": (17.432, 37.84),
    "sfnet": (21.673, 192.26),
    "alignseg": (23.512, 209.31),
}
GLAS = {  # the counts of the structures chosen; the paper prints 10.42, 16.33, 10.46, 24.25, 51.51, 68.21 GMAC
    "bilinear": (11.2381, 10.5333),
    "nearest": (11.2381, 10.5333),
    "deconvolution": (12.9265, 16.4433),
    "unet": (14.3282, 21.68),
    "carafe": (13.932, 18.63),
    "sfnet": (22.4041, 64.33),
    "alignseg": (19.1295, 68.4310),
    "ifa": (11.7896, 16.02),
}
GLAS_PAPER_PARAMETERS = {
    "bilinear": 11.24,
    "nearest": 11.24,
    "deconvolution": 12.93,
    "unet": 14.33,
    "sfnet": 22.40,
    "alignseg": 19.13,
    "ifa": 11.79,
}


def counts(decoder: str, trunk: str) -> tuple[float, float]:
    """Parameters in millions and GMAC at the paper's input size."""
    if trunk == "resnet18":
        network, shape = peer_network(decoder, trunk), (1, 3, 512, 512)
    else:
        network, shape = peer_network(decoder, trunk, out_channels=9, in_channels=1), (1, 1, 224, 224)
    return parameter_count(network) / 1e6, paper_macs(network, shape) / 1e9


@pytest.mark.parametrize("decoder", SYNAPSE_PAPER)
def test_synapse_counts_are_the_papers(decoder: str) -> None:
    parameters, gmac = counts(decoder, "unet_one_up")
    assert parameters == pytest.approx(SYNAPSE_PAPER[decoder][0], abs=0.0051)
    assert gmac == pytest.approx(SYNAPSE_PAPER[decoder][1], abs=0.0101)


@pytest.mark.parametrize("decoder", EQUAL_TRUNK)
def test_counts_on_the_trunk_of_i2net(decoder: str) -> None:
    assert counts(decoder, "unet") == pytest.approx(EQUAL_TRUNK[decoder], rel=5e-4)


@pytest.mark.parametrize("decoder", GLAS)
def test_glas_counts_are_those_settled(decoder: str) -> None:
    assert counts(decoder, "resnet18") == pytest.approx(GLAS[decoder], rel=5e-4)


@pytest.mark.parametrize("decoder", GLAS_PAPER_PARAMETERS)
def test_glas_parameters_are_the_papers(decoder: str) -> None:
    assert counts(decoder, "resnet18")[0] == pytest.approx(GLAS_PAPER_PARAMETERS[decoder], abs=0.0051)


def test_operations_of_i2net_are_the_papers_by_the_same_rules() -> None:
    assert paper_macs(glas_i2net(), (1, 3, 512, 512)) / 1e9 == pytest.approx(12.30, rel=1e-3)
    assert paper_macs(synapse_i2net(), (1, 1, 224, 224)) / 1e9 == pytest.approx(32.53, rel=1e-3)


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("decoder", NAMES)
def test_any_size_gives_finite_logits_and_gradients(decoder: str, trunk: str) -> None:
    torch.manual_seed(0)
    network = peer_network(decoder, trunk, out_channels=3, in_channels=2).train()
    logits = network(torch.randn(2, 2, 50, 67))
    assert logits.shape == (2, 3, 50, 67)
    logits.square().mean().backward()
    missing = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert not missing
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters() if parameter.grad is not None)


def test_an_unknown_decoder_or_trunk_is_refused() -> None:
    with pytest.raises(ValueError, match=r"decoder must be one of bilinear, .*, not 'ita' on 'resnet18'"):
        peer_network("ita")
    with pytest.raises(ValueError, match=r"trunk one of resnet18, unet, unet_one_up, not 'ifa' on 'vgg'"):
        peer_network("ifa", "vgg")


def test_reassembly_is_the_weighted_mean_of_the_sources_neighbourhood() -> None:
    torch.manual_seed(0)
    x, kernels = torch.randn(2, 3, 4, 5), torch.randn(2, 25, 8, 10).softmax(dim=1)
    neighbours = F.unfold(x, kernel_size=5, padding=2).view(2, 3, 25, 4, 5)
    neighbours = neighbours.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
    torch.testing.assert_close(reassemble(x, kernels), (neighbours * kernels[:, None]).sum(dim=2))


def test_a_flow_of_whole_pixels_shifts_the_map() -> None:
    x = torch.randn(1, 2, 6, 8)
    flow = torch.zeros(1, 2, 6, 8)
    flow[:, 0], flow[:, 1] = 2, 1  # to the right and down
    shifted = warp(x, flow, (7 / 2, 5 / 2))
    torch.testing.assert_close(shifted[:, :, :-1, :-2], x[:, :, 1:, 2:], rtol=1e-4, atol=1e-5)


def test_warping_keeps_its_positions_in_bfloat16() -> None:
    x = torch.randn(1, 2, 80, 80).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        warped = warp(x, torch.zeros(1, 2, 80, 80, dtype=torch.bfloat16), (79 / 2, 79 / 2))
    torch.testing.assert_close(warped.float(), x.float(), rtol=0.01, atol=0.01)


def test_transposed_convolutions_start_as_bilinear_interpolation() -> None:
    decoder = DeconvolutionDecoder((4, 4), 1)
    x = torch.randn(1, 4, 5, 6)
    with torch.no_grad():
        doubled = decoder.up[0][0](x)  # type: ignore[index]
    torch.testing.assert_close(doubled[:, :, ::2, ::2], x)
    torch.testing.assert_close(doubled[:, :, 1:-1:2, ::2], (x[:, :, 1:] + x[:, :, :-1]) / 2)
