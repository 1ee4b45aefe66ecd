"""I²Layer, gate and implicit decoder against plain forms with explicit weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from i2net_bundle import hardware
from i2net_bundle.losses.orthogonalization import learner_cosines, learner_gradients, learner_orthogonalization
from i2net_bundle.networks.decoder import I2Layer, ImplicitDecoder
from i2net_bundle.networks.fast import folded, gated_linear
from tests.networks.plain_decoder import PlainDecoder
from tests.networks.small_networks import assert_gradients_close, parameter_count, randomise_batch_norms

LEARNERS = [1, 2, 3, 4, 6, 8]
EVEN_SIZES = [(16, 8), (8, 4), (4, 2)]
ODD_SIZES = [(13, 11), (7, 6), (4, 3)]  # prime query sizes: ties only at the centre, where grid_sample is exact


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def make_features(sizes: list[tuple[int, int]], channels: int = 5, batch: int = 2) -> list[torch.Tensor]:
    return [torch.randn(batch, channels, *size, requires_grad=True) for size in sizes]


def make_decoder(num_learners: int = 3, pos_dim: int = 0, levels: int = 3, channels: int = 5) -> ImplicitDecoder:
    decoder = ImplicitDecoder((channels,) * levels, (9, 7, 4), (8, 6), num_learners, pos_dim)
    randomise_batch_norms(decoder)
    return decoder


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


class TestDecoderEqualsItsPlainForm:
    @pytest.mark.parametrize("pos_dim", [0, 8], ids=["raw coordinates", "Fourier encoding"])
    @pytest.mark.parametrize("sizes", [EVEN_SIZES, ODD_SIZES], ids=["even sizes", "odd sizes"])
    @pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
    @pytest.mark.parametrize("num_learners", [1, 3, 4])
    def test_output_gate_and_every_gradient(
        self, num_learners: int, training: bool, sizes: list[tuple[int, int]], pos_dim: int
    ) -> None:
        decoder, features = make_decoder(num_learners, pos_dim).train(training), make_features(sizes)
        expected = PlainDecoder(decoder)(features)
        found = decoder(features)
        names = [name for name, _ in decoder.named_parameters()] + [f"feature{i}" for i in range(len(features))]
        inputs = [*decoder.parameters(), *features]
        weights = [torch.randn_like(value) for value in expected]
        gradients = []
        for outputs in (found, expected):
            scalar = sum((value * weight).mean() for value, weight in zip(outputs, weights, strict=True))
            gradients.append(dict(zip(names, torch.autograd.grad(scalar, inputs), strict=True)))
        for value, reference in zip(found, expected, strict=True):
            torch.testing.assert_close(value, reference, rtol=1e-4, atol=1e-5)
        assert_gradients_close(*gradients)

    @pytest.mark.parametrize("size", [(16, 16), (5, 3), (29, 31)], ids=str)
    @pytest.mark.parametrize("pos_dim", [0, 8], ids=["raw coordinates", "Fourier encoding"])
    def test_any_query_grid(self, size: tuple[int, int], pos_dim: int) -> None:
        decoder, features = make_decoder(pos_dim=pos_dim).eval(), make_features([(16, 8), (7, 9), (4, 2)])
        for value, reference in zip(decoder(features, size), PlainDecoder(decoder)(features, size), strict=True):
            torch.testing.assert_close(value, reference, rtol=1e-4, atol=1e-5)

    def test_output_without_gradients_equals_the_one_with(self) -> None:
        decoder, features = make_decoder(pos_dim=8).eval(), make_features(ODD_SIZES)
        with torch.no_grad():
            without = decoder(features)
        for value, reference in zip(without, decoder(features), strict=True):
            torch.testing.assert_close(value, reference, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("pos_dim", [0, 8], ids=["raw coordinates", "Fourier encoding"])
    @pytest.mark.parametrize(
        ("sizes", "size"),
        [
            pytest.param(EVEN_SIZES, None, id="even sizes"),
            pytest.param(ODD_SIZES, None, id="odd sizes"),
            pytest.param([(16, 8), (7, 9), (4, 2)], (5, 3), id="query grid coarser than levels"),
        ],
    )
    @pytest.mark.parametrize("num_learners", [2, 3, 6])
    def test_second_order_gradients_of_the_penalty(
        self, num_learners: int, sizes: list[tuple[int, int]], size: tuple[int, int] | None, pos_dim: int
    ) -> None:
        # in double precision: in single, either form's rounding reaches 1e-4 in the highest frequencies
        decoder = make_decoder(num_learners, pos_dim).double()
        features = [feature.detach().double().requires_grad_() for feature in make_features(sizes)]
        rows, cols = size or sizes[0]
        target = torch.randint(0, 4, (2, rows, cols))
        inputs = {**dict(decoder.named_parameters()), **{f"feature{i}": value for i, value in enumerate(features)}}
        found = []
        for form in (decoder, PlainDecoder(decoder)):
            loss = F.cross_entropy(form(features, size)[0], target)
            cosines = learner_cosines(learner_gradients(loss, decoder.learner_parameters()))
            penalty = learner_orthogonalization(cosines, num_learners)
            gradients = torch.autograd.grad(penalty, list(inputs.values()), allow_unused=True)
            present = zip(inputs, gradients, strict=True)
            found.append({name: gradient for name, gradient in present if gradient is not None})
        assert_gradients_close(*found)

    @pytest.mark.parametrize("form", ["decoder", "script"])
    def test_every_size_of_coarser_level_and_batch(self, form: str) -> None:
        decoder = make_decoder(pos_dim=4).eval()
        tested = torch.jit.script(decoder) if form == "script" else decoder
        for batch, sizes in ((1, [(1, 1)] * 3), (3, [(9, 5), (9, 5), (2, 7)]), (2, [(6, 22), (3, 11), (3, 11)])):
            features = make_features(sizes, batch=batch)
            with torch.no_grad():
                for value, reference in zip(tested(features), PlainDecoder(decoder)(features), strict=True):
                    torch.testing.assert_close(value, reference, rtol=1e-4, atol=1e-5)

    def test_blocks_of_any_length_give_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        decoder, features = make_decoder(pos_dim=4), make_features(ODD_SIZES)
        whole = decoder.eval()(features)
        for length in (1, 50, 143):
            for module in (folded, gated_linear):
                monkeypatch.setattr(
                    module, "blocks", lambda n, *_, step=length: (slice(i, min(i + step, n)) for i in range(0, n, step))
                )
            for gradients in (False, True):
                with torch.set_grad_enabled(gradients):
                    for value, reference in zip(decoder(features), whole, strict=True):
                        torch.testing.assert_close(value, reference, rtol=1e-4, atol=1e-5)


class TestAutocast:
    @pytest.mark.parametrize("in_hardware", [False, True], ids=["emulated", "in hardware"])
    @pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
    def test_bfloat16_is_near_float32_and_trains(
        self, training: bool, in_hardware: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda device_type: in_hardware)
        decoder, features = make_decoder(pos_dim=4).train(training), make_features(EVEN_SIZES)
        exact, _ = decoder(features)
        with torch.autocast("cpu", torch.bfloat16):
            decoded, gates = decoder([feature.bfloat16() for feature in features])
        assert decoded.dtype == (torch.bfloat16 if in_hardware else torch.float32)
        assert gates.dtype == torch.float32
        assert (decoded.float() - exact).abs().mean() < 0.05 * exact.std()
        torch.testing.assert_close(gates.sum(dim=1), torch.ones_like(gates[:, 0]))
        cosines = learner_cosines(learner_gradients(decoded.float().square().mean(), decoder.learner_parameters()))
        learner_orthogonalization(cosines, 3).backward()
        for weight, _ in decoder.learner_parameters():
            assert weight.grad.dtype == torch.float32
            assert torch.isfinite(weight.grad).all()
            assert weight.grad.any()

    def test_a_processor_without_bfloat16_multiplies_in_float32(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda device_type: False)
        decoder, features = make_decoder().eval(), [feature.bfloat16() for feature in make_features(EVEN_SIZES)]
        with torch.no_grad():
            expected = decoder([feature.float() for feature in features])
            with torch.autocast("cpu", torch.bfloat16):
                found = decoder(features)
        for value, reference in zip(found, expected, strict=True):
            assert torch.equal(value, reference)


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
