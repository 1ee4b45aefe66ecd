"""The network and its losses reproduce numbers of an independent implementation (float32)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from i2net_bundle.losses.gating import gate_expectation_smoothing, gate_instance_sharpening
from i2net_bundle.losses.orthogonalization import learner_cosines, learner_gradients, learner_orthogonalization
from i2net_bundle.losses.total import I2NetLoss
from i2net_bundle.networks import ImplicitDecoder, glas_i2net
from i2net_bundle.networks.coordinates import FourierEncoding, nearest_cells, sample_nearest
from i2net_bundle.networks.fast import accelerate
from i2net_bundle.networks.neck import Neck
from tests.networks.golden_names import translate

Golden = Callable[[str], dict[str, torch.Tensor]]


def assert_matches(name: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    """Within rtol 1e-4 and atol 1e-5; prints the largest error, for `pytest -s`."""
    print(f"{name}: largest error {(found.double() - expected.double()).abs().max():.1e}")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=lambda message: f"{name}: {message}")


class NeckAndDecoder(nn.Module):
    """The part of the network that the decoder files contain."""

    def __init__(self, num_learners: int) -> None:
        super().__init__()
        self.neck = Neck((64, 128, 256, 512), 64)
        self.decoder = ImplicitDecoder(self.neck.out_channels, (128, 64), (128,), num_learners)

    def forward(self, features: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features before the neck to decoded map and gates."""
        return self.decoder(self.neck(features))


@pytest.mark.parametrize(
    ("grid", "size"), [pytest.param("ratio4", (32, 32), id="ratio 4"), pytest.param("odd", (57, 66), id="odd ratio")]
)
def test_sampling_matches_the_golden_coordinates(golden: Golden, grid: str, size: tuple[int, int]) -> None:
    numbers = golden("coordinates")
    feature = numbers[f"{grid}_feature"]
    sampled, rel_coord = sample_nearest(feature, *size)
    assert_matches(f"{grid} sampled feature", sampled.flatten(1, 2), numbers[f"{grid}_sampled"])
    expected = numbers[f"{grid}_rel_coord"]
    assert_matches(f"{grid} rel_coord", rel_coord.reshape(1, -1, 2).expand_as(expected), expected)


@pytest.mark.parametrize(
    ("level", "cells"), [("eighth", (66, 97)), ("sixteenth", (33, 49)), ("thirtysecond", (17, 25))]
)
def test_nearest_cells_match_at_native_glas_size_ties_included(
    golden: Golden, level: str, cells: tuple[int, int]
) -> None:
    numbers = golden("coordinates")
    for axis, queries, num_cells in zip(("row", "col"), (131, 194), cells, strict=True):
        cell, rel_coord = nearest_cells(queries, num_cells)
        assert torch.equal(cell, numbers[f"glas_native_{level}_cell_{axis}"].long())
        assert_matches(f"native GlaS {level} {axis}", rel_coord, numbers[f"glas_native_{level}_rel_{axis}"])


def test_fourier_encoding_matches_the_golden_numbers(golden: Golden) -> None:
    numbers = golden("coordinates")
    encoding = FourierEncoding(pos_dim=8)
    assert_matches("Fourier frequencies", encoding.frequencies.data, numbers["encoding_frequencies"])
    assert_matches("Fourier encoding", encoding(numbers["encoding_input"]).data, numbers["encoding_output"])


@pytest.mark.parametrize(("name", "num_learners"), [("decoder_k3", 3), ("decoder_k4_odd_sizes", 4)])
@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
class TestDecoder:
    """Neck and implicit decoder against `decoder_*.npz`."""

    def load(
        self, golden: Golden, name: str, num_learners: int, fast: bool
    ) -> tuple[dict, NeckAndDecoder, list[torch.Tensor]]:
        numbers = golden(name)
        network = NeckAndDecoder(num_learners)
        network.load_state_dict(translate(numbers, "state/"))
        network = accelerate(network) if fast else network
        return numbers, network, [numbers[f"feature{i}"].requires_grad_() for i in range(4)]

    def test_output_and_gate_match_in_both_modes(
        self, golden: Golden, name: str, num_learners: int, fast: bool
    ) -> None:
        numbers, network, features = self.load(golden, name, num_learners, fast)
        for mode in ("eval", "train"):
            decoded, gates = network.train(mode == "train")(features)
            assert_matches(f"{name} {mode} output", decoded.data, numbers[f"{mode}_output"])
            assert_matches(f"{name} {mode} gate", gates.data, numbers[f"{mode}_gate"])

    def test_every_loss_value_matches(self, golden: Golden, name: str, num_learners: int, fast: bool) -> None:
        numbers, network, features = self.load(golden, name, num_learners, fast)
        decoded, gates = network(features)
        segmentation = F.cross_entropy(decoded, numbers["target"])
        sharpening, smoothing = gate_instance_sharpening(gates), gate_expectation_smoothing(gates)
        learners = network.decoder.learner_parameters()
        cosines = learner_cosines(learner_gradients(segmentation, learners))
        weights_only = torch.autograd.grad(segmentation, [weight for weight, _ in learners], retain_graph=True)
        cosines_of_weights = learner_cosines([gradient.flatten(1) for gradient in weights_only])
        found = {
            "seg": segmentation,
            "gate_instance_sharpening": sharpening,
            "gate_expectation_smoothing": smoothing,
            "gate_shaping": sharpening + 0.5 * smoothing,
            "learner_orthogonalization": learner_orthogonalization(cosines, num_learners),
            "learner_orthogonalization_weights_only": learner_orthogonalization(cosines_of_weights, num_learners),
        }
        for term, value in found.items():
            assert_matches(f"{name} loss {term}", value.detach(), numbers[f"loss_{term}"])

    def test_total_and_every_gradient_match(self, golden: Golden, name: str, num_learners: int, fast: bool) -> None:
        numbers, network, features = self.load(golden, name, num_learners, fast)
        segmentation = nn.CrossEntropyLoss()
        loss = I2NetLoss(segmentation, network.decoder.learner_parameters())
        total = loss(network(features), numbers["target"])["loss"]
        assert_matches(f"{name} loss total", total.detach(), numbers["loss_total"])
        total.backward()
        found = {name: parameter.grad for name, parameter in network.named_parameters()}
        expected = translate(numbers, "grad_total/")
        assert found.keys() == expected.keys()
        for i, feature in enumerate(features):
            found[f"feature{i}"], expected[f"feature{i}"] = feature.grad, numbers[f"grad_total/feature{i}"]
        # convolution biases before a normalisation have a true gradient of 0
        scales = {key: value.abs().max() for key, value in expected.items() if value.abs().max() > 1e-6}
        worst = max((found[key] - expected[key]).abs().max() / scale for key, scale in scales.items())
        print(f"{name} gradients: largest error relative to each tensor's largest value {worst:.1e}")
        for key, value in expected.items():
            error = (found[key] - value).abs().max()
            assert error <= max(1e-3 * value.abs().max(), 1e-6), f"{key}: {error:.2e} of {value.abs().max():.2e}"


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
def test_glas_network_matches_from_image_to_logits(golden: Golden, shared: Path, fast: bool) -> None:
    numbers = golden("glas_network_k3")
    network = glas_i2net(num_learners=3).eval()
    trunk = torch.load(shared / "weights" / "resnet18_imagenet_derived.pt", weights_only=True)
    state = translate(numbers, "state/") | {f"encoder.{name}": value for name, value in trunk.items()}
    network.load_state_dict(state)
    network = accelerate(network) if fast else network
    image = numbers["image_uint8"].permute(2, 0, 1)[None] / 255
    image = (image - numbers["normalised_mean"]) / numbers["normalised_std"]
    with torch.no_grad():
        skip, levels = network.encoder(image)
        decoded, gates = network.decoder(network.neck(levels))
        half = network.head(skip, decoded)
        logits = network(image)
    for index, feature in enumerate([skip, *levels], start=1):
        assert_matches(f"GlaS network encoder feature {index}", feature, numbers[f"encoder_feature{index}"])
    assert_matches("GlaS network gate", gates, numbers["gate"])
    assert_matches("GlaS network logits at 1/2", half, numbers["logits_half_resolution"])
    assert_matches("GlaS network logits", logits, numbers["logits"])
