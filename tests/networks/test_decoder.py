"""I²Layer, gate and implicit decoder: numbers worked by hand, explicit weight matrices, properties."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from i2net_bundle.networks.decoder import I2Layer, ImplicitDecoder
from tests.networks.small_decoders import EVEN_SIZES, ODD_SIZES, make_decoder, make_features
from tests.networks.small_networks import parameter_count, randomise_batch_norms

LEARNERS = [1, 2, 3, 4, 6, 8]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


class TestI2Layer:
    def test_one_point_by_hand(self) -> None:
        layer = I2Layer(1, 1, num_learners=2, norm_act=False)
        layer.weight.data = torch.tensor([[[2.0]], [[4.0]]])
        layer.bias.data = torch.tensor([[1.0], [-1.0]])
        # weight 1/4 · 2 + 3/4 · 4 = 3.5, bias 1/4 - 3/4 = -0.5; 3.5 · 3 - 0.5 = 10
        assert layer(torch.tensor([[3.0]]), torch.tensor([[0.25, 0.75]])).item() == 10.0

    @pytest.mark.parametrize("norm_act", [False, True], ids=["last layer", "hidden layer"])
    @pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
    @pytest.mark.parametrize("num_learners", LEARNERS)
    def test_layer_equals_one_weight_matrix_per_point(self, num_learners: int, training: bool, norm_act: bool) -> None:
        layer = I2Layer(5, 4, num_learners, norm_act).double().train(training)
        randomise_batch_norms(layer)
        x, gate = torch.randn(11, 5).double(), torch.randn(11, num_learners).double().softmax(dim=1)
        weight = torch.einsum("pk,koc->poc", gate, layer.weight)  # Σ_k g_k W_k, one matrix for every point
        bias = torch.einsum("pk,ko->po", gate, layer.bias)
        expected = torch.stack([weight[p] @ x[p] + bias[p] for p in range(11)])
        if norm_act:
            bn = layer.norm_act[0]
            mean = expected.mean(0) if training else bn.running_mean
            variance = expected.var(0, unbiased=False) if training else bn.running_var
            expected = ((expected - mean) / (variance + bn.eps).sqrt() * bn.weight + bn.bias).relu()
        torch.testing.assert_close(layer(x, gate), expected)

    @pytest.mark.parametrize("learner", range(3))
    def test_a_one_hot_gate_picks_its_learner(self, learner: int) -> None:
        layer = I2Layer(4, 3, num_learners=3, norm_act=False)
        x, gate = torch.randn(6, 4), F.one_hot(torch.full((6,), learner), 3).float()
        torch.testing.assert_close(layer(x, gate), F.linear(x, layer.weight[learner], layer.bias[learner]))

    def test_every_learner_starts_as_a_linear_layer_of_its_own(self) -> None:
        layer = I2Layer(100, 50, num_learners=3, norm_act=False)
        bound = 1 / math.sqrt(100)  # torch.nn.Linear's
        for parameter in (layer.weight, layer.bias):
            assert 0.9 * bound < parameter.abs().max() <= bound
        assert not torch.equal(layer.weight[0], layer.weight[1])


class TestDecoderProperties:
    @pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
    @pytest.mark.parametrize("num_learners", LEARNERS)
    def test_gates_are_positive_and_sum_to_one(self, num_learners: int, training: bool) -> None:
        decoder = make_decoder(num_learners, pos_dim=4).train(training)
        decoded, gates = decoder(make_features(ODD_SIZES))
        assert decoded.shape == (2, 4, 13, 11)
        assert gates.shape == (2, num_learners, 13, 11)
        assert gates.min() >= 0
        torch.testing.assert_close(gates.sum(dim=1), torch.ones(2, 13, 11))

    @pytest.mark.parametrize("num_learners", LEARNERS)
    def test_gradient_reaches_every_learner_of_every_layer(self, num_learners: int) -> None:
        decoder = make_decoder(num_learners)
        decoded, _ = decoder(make_features(EVEN_SIZES))
        (decoded * torch.randn_like(decoded)).sum().backward()
        for weight, bias in decoder.learner_parameters():
            assert (weight.grad.flatten(1).norm(dim=1) > 0).all()
            assert torch.isfinite(weight.grad).all()
            assert bias.grad.shape == bias.shape

    def test_equal_learners_leave_nothing_to_the_gate(self) -> None:
        one, many = make_decoder(num_learners=1), make_decoder(num_learners=4)
        for single, multiple in zip(one.layers, many.layers, strict=True):
            multiple.load_state_dict(
                single.state_dict()
                | {"weight": single.weight.data.expand(4, -1, -1), "bias": single.bias.data.expand(4, -1)}
            )
        features = make_features(ODD_SIZES)
        torch.testing.assert_close(many(features)[0], one(features)[0], rtol=1e-4, atol=1e-5)

    def test_order_of_learners_does_not_matter(self) -> None:
        decoder, features, order = make_decoder(num_learners=3).eval(), make_features(EVEN_SIZES), [2, 0, 1]
        decoded, gates = decoder(features)
        for layer in [*decoder.layers, decoder.gate_net[-1]]:
            layer.weight.data, layer.bias.data = layer.weight.data[order], layer.bias.data[order]
        reordered, reordered_gates = decoder(features)
        torch.testing.assert_close(reordered, decoded, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(reordered_gates, gates[:, order], rtol=1e-4, atol=1e-5)

    def test_default_query_grid_is_the_finest_levels(self) -> None:
        decoder, features = make_decoder().eval(), make_features(ODD_SIZES)
        for value, reference in zip(decoder(features), decoder(features, (13, 11)), strict=True):
            assert torch.equal(value, reference)

    def test_training_updates_the_running_statistics_and_evaluation_does_not(self) -> None:
        decoder = make_decoder()
        before = decoder.layers[0].norm_act[0].running_mean.clone()
        decoder.eval()(make_features(EVEN_SIZES))
        assert torch.equal(decoder.layers[0].norm_act[0].running_mean, before)
        decoder.train()(make_features(EVEN_SIZES))
        assert not torch.equal(decoder.layers[0].norm_act[0].running_mean, before)

    def test_learner_parameters_are_the_layers_own(self) -> None:
        decoder = make_decoder(num_learners=3)
        learners = decoder.learner_parameters()
        assert [tuple(weight.shape) for weight, _ in learners] == [(3, 9, 21), (3, 7, 9), (3, 4, 7)]  # 21 = 3 (5 + 2)
        for (weight, bias), layer in zip(learners, decoder.layers, strict=True):
            assert weight is layer.weight
            assert bias is layer.bias

    @pytest.mark.parametrize(
        ("levels", "pos_dim", "per_learner"),
        [
            # (in + 1) 128 + (128 + 1) 64 and one row of the gate's last layer, 128 + 1
            pytest.param(4, 0, 265 * 128 + 129 * 64 + 129, id="GlaS, 4 (64 + 2) in"),
            pytest.param(3, 8, 223 * 128 + 129 * 64 + 129, id="Synapse, 3 (64 + 10) in"),
        ],
    )
    def test_parameters_per_learner(self, levels: int, pos_dim: int, per_learner: int) -> None:
        counts = [
            parameter_count(ImplicitDecoder((64,) * levels, (128, 64), (128,), num_learners, pos_dim))
            for num_learners in (1, 2, 5)
        ]
        assert counts[1] - counts[0] == per_learner
        assert counts[2] - counts[1] == 3 * per_learner

    @pytest.mark.parametrize(
        "pos_dim",
        [
            0,
            8,
        ],
    )
    def test_decoder_works_in_double_precision(self, pos_dim: int) -> None:
        decoder, features = make_decoder(pos_dim=pos_dim).eval(), make_features(ODD_SIZES)
        single = decoder(features)[0]
        double = decoder.double()([feature.double() for feature in features])[0]
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_learners", [0, -1])
def test_a_decoder_without_learners_is_refused(num_learners: int) -> None:
    with pytest.raises(ValueError, match=f"num_learners must be at least 1, got {num_learners}"):
        ImplicitDecoder(num_learners=num_learners)


def test_a_bad_encoding_size_is_refused() -> None:
    with pytest.raises(ValueError, match="pos_dim must be 0 or a positive multiple of 4, got 10"):
        ImplicitDecoder(pos_dim=10)
