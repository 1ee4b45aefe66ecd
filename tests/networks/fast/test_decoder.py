"""The fast decoder against the plain one: values, gradients, second derivatives, blocks, bfloat16."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from i2net_bundle.losses.orthogonalization import learner_cosines, learner_gradients, learner_orthogonalization
from i2net_bundle.networks import ImplicitDecoder
from i2net_bundle.networks.fast import folded, gated_linear, precision
from i2net_bundle.networks.fast.decoder import FastImplicitDecoder
from tests.networks.small_decoders import EVEN_SIZES, ODD_SIZES, make_decoder, make_features
from tests.networks.small_networks import assert_gradients_close


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def sped_up(decoder: ImplicitDecoder) -> FastImplicitDecoder:
    """The fast form over the very parameters and buffers of a plain decoder."""
    fast = copy.copy(decoder)
    fast.__class__ = FastImplicitDecoder
    return fast


class TestFastDecoderEqualsThePlainOne:
    @pytest.mark.parametrize("pos_dim", [0, 8], ids=["raw coordinates", "Fourier encoding"])
    @pytest.mark.parametrize("sizes", [EVEN_SIZES, ODD_SIZES], ids=["even sizes", "odd sizes"])
    @pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
    @pytest.mark.parametrize("num_learners", [1, 3, 4])
    def test_output_gate_and_every_gradient(
        self, num_learners: int, training: bool, sizes: list[tuple[int, int]], pos_dim: int
    ) -> None:
        decoder, features = make_decoder(num_learners, pos_dim).train(training), make_features(sizes)
        expected = decoder(features)
        found = sped_up(decoder)(features)
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
        for value, reference in zip(sped_up(decoder)(features, size), decoder(features, size), strict=True):
            torch.testing.assert_close(value, reference, rtol=1e-4, atol=1e-5)

    def test_output_without_gradients_equals_the_one_with(self) -> None:
        decoder, features = sped_up(make_decoder(pos_dim=8)).eval(), make_features(ODD_SIZES)
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
        for form in (sped_up(decoder), decoder):
            loss = F.cross_entropy(form(features, size)[0], target)
            cosines = learner_cosines(learner_gradients(loss, decoder.learner_parameters()))
            penalty = learner_orthogonalization(cosines, num_learners)
            gradients = torch.autograd.grad(penalty, list(inputs.values()), allow_unused=True)
            present = zip(inputs, gradients, strict=True)
            found.append({name: gradient for name, gradient in present if gradient is not None})
        assert_gradients_close(*found)

    def test_every_size_of_coarser_level_and_batch(self) -> None:
        decoder = make_decoder(pos_dim=4).eval()
        for batch, sizes in ((1, [(1, 1)] * 3), (3, [(9, 5), (9, 5), (2, 7)]), (2, [(6, 22), (3, 11), (3, 11)])):
            features = make_features(sizes, batch=batch)
            with torch.no_grad():
                for value, reference in zip(sped_up(decoder)(features), decoder(features), strict=True):
                    torch.testing.assert_close(value, reference, rtol=1e-4, atol=1e-5)

    def test_blocks_of_any_length_give_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        decoder, features = sped_up(make_decoder(pos_dim=4)), make_features(ODD_SIZES)
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
        monkeypatch.setattr(precision, "multiplies_bfloat16", lambda device_type: in_hardware)
        decoder, features = sped_up(make_decoder(pos_dim=4)).train(training), make_features(EVEN_SIZES)
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
        monkeypatch.setattr(precision, "multiplies_bfloat16", lambda device_type: False)
        decoder, features = (
            sped_up(make_decoder()).eval(),
            [feature.bfloat16() for feature in make_features(EVEN_SIZES)],
        )
        with torch.no_grad():
            expected = decoder([feature.float() for feature in features])
            with torch.autocast("cpu", torch.bfloat16):
                found = sped_up(decoder)(features)
        for value, reference in zip(found, expected, strict=True):
            assert torch.equal(value, reference)
