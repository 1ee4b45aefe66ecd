"""The whole network: size, cost, any image, and export by TorchScript."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from i2net_bundle.networks import I2Net, cityscapes_i2net, glas_i2net, synapse_i2net
from i2net_bundle.networks.heads import DecodedHead, SkipHead, resize
from i2net_bundle.networks.neck import Neck
from tests.networks.small_networks import parameter_count, randomise_batch_norms, small_i2net

NETWORKS = {"glas": (glas_i2net, 3, 1), "synapse": (synapse_i2net, 1, 9)}
SIZES = [
    pytest.param((64, 96), id="64x96"),
    pytest.param((33, 47), id="33x47"),
    pytest.param((40, 25), id="40x25"),
]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module", params=list(NETWORKS))
def network(request: pytest.FixtureRequest) -> I2Net:
    """The paper's GlaS and Synapse networks in eval mode; tests must leave them so."""
    torch.manual_seed(0)
    built = NETWORKS[request.param][0]().eval()
    randomise_batch_norms(built)
    return built


def make_image(network: I2Net, size: tuple[int, int], batch: int = 1) -> torch.Tensor:
    channels = next(network.encoder.parameters()).shape[1]
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(size[0]))


class TestCounts:
    @pytest.mark.parametrize(
        ("build", "num_learners", "parameters"),
        [
            pytest.param(glas_i2net, 3, 11_400_196, id="GlaS K=3"),
            pytest.param(glas_i2net, 4, 11_442_501, id="GlaS K=4"),
            pytest.param(synapse_i2net, 3, 17_432_036, id="Synapse K=3"),
            pytest.param(synapse_i2net, 4, 17_468_965, id="Synapse K=4"),
        ],
    )
    def test_parameters_are_the_papers(self, build: Callable[..., I2Net], num_learners: int, parameters: int) -> None:
        assert parameter_count(build(num_learners)) == parameters

    @pytest.mark.parametrize(
        ("build", "num_learners", "shape", "gmac"),
        [
            pytest.param(glas_i2net, 3, (3, 512, 512), 12.23, id="GlaS K=3"),
            pytest.param(glas_i2net, 4, (3, 512, 512), 12.92, id="GlaS K=4"),
            pytest.param(synapse_i2net, 3, (1, 224, 224), 32.44, id="Synapse K=3"),
            pytest.param(synapse_i2net, 4, (1, 224, 224), 32.90, id="Synapse K=4"),
        ],
    )
    def test_matrix_work_is_the_papers(
        self, build: Callable[..., I2Net], num_learners: int, shape: tuple[int, int, int], gmac: float
    ) -> None:
        network = build(num_learners).to("meta").eval()  # shapes without numbers: the count costs nothing
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.empty(1, *shape, device="meta"))
        assert round(counter.get_total_flops() / 2 / 1e9, 2) == gmac


class TestAnyImage:
    @pytest.mark.parametrize("size", SIZES)
    def test_logits_have_the_images_size_and_gates_sum_to_one(self, network: I2Net, size: tuple[int, int]) -> None:
        image = make_image(network, size)
        with torch.no_grad():
            logits, gates = network.forward_with_gates(image)
            _, levels = network.encoder(image)
        assert logits.shape == (1, network.head.conv.out_channels, *size)
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()
        assert gates.shape == (1, 3, *levels[0].shape[2:])
        torch.testing.assert_close(gates.sum(dim=1), torch.ones(1, *levels[0].shape[2:]))

    @pytest.mark.parametrize("size", SIZES)
    def test_forward_is_forward_with_gates_without_the_gates(self, network: I2Net, size: tuple[int, int]) -> None:
        image = make_image(network, size)
        with torch.no_grad():
            assert torch.equal(network(image), network.forward_with_gates(image)[0])

    def test_an_images_output_does_not_depend_on_its_batch(self, network: I2Net) -> None:
        batch = torch.cat([make_image(network, (33, 47)), 5 * torch.randn_like(make_image(network, (33, 47), 2))])
        with torch.no_grad():
            together, alone = network(batch), network(batch[:1])
            reversed_batch = network(batch.flip(0))
        torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(reversed_batch.flip(0), together, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("num_learners", [1, 2, 3, 4, 6, 8])
    @pytest.mark.parametrize("pos_dim", [0, 8], ids=["raw coordinates", "Fourier encoding"])
    def test_any_number_of_learners(self, num_learners: int, pos_dim: int) -> None:
        logits, gates = small_i2net(num_learners, pos_dim=pos_dim).forward_with_gates(torch.randn(2, 1, 17, 23))
        assert logits.shape == (2, 2, 17, 23)
        assert torch.isfinite(logits).all()
        assert gates.shape == (2, num_learners, 8, 11)

    @pytest.mark.parametrize(
        ("build", "in_channels", "out_channels"), [(glas_i2net, 1, 4), (synapse_i2net, 3, 2), (cityscapes_i2net, 4, 7)]
    )
    def test_channels_and_classes_can_be_chosen(
        self, build: Callable[..., I2Net], in_channels: int, out_channels: int
    ) -> None:
        network = build(2, out_channels, in_channels).to("meta")
        logits, gates = network.forward_with_gates(torch.empty(2, in_channels, 96, 65, device="meta"))
        assert logits.shape == (2, out_channels, 96, 65)
        assert gates.shape[1] == 2

    def test_cityscapes_queries_at_a_quarter_and_its_decoder_ends_in_the_classes(self) -> None:
        network = cityscapes_i2net().to("meta")
        logits, gates = network.forward_with_gates(torch.empty(1, 3, 64, 128, device="meta"))
        assert logits.shape == (1, 19, 64, 128)
        assert gates.shape == (1, 3, 16, 32)
        # 4 levels of 256 channels and 2 + 24 coordinates
        assert [tuple(layer.weight.shape) for layer in network.decoder.layers] == [
            (3, 512, 4 * 282), (3, 256, 512), (3, 256, 256), (3, 19, 256)
        ]  # fmt: skip
        assert not list(network.head.parameters())


class TestBfloat16:
    def test_autocast_gives_logits_near_float32s(self, network: I2Net) -> None:
        image = make_image(network, (33, 47))
        with torch.no_grad():
            exact, exact_gates = network.forward_with_gates(image)
            with torch.autocast("cpu", torch.bfloat16):
                logits, gates = network.forward_with_gates(image)
        # bfloat16 has 8 bits; an error of a tenth of the logits' spread is far above what they add up to
        assert (logits.float() - exact).abs().mean() < 0.1 * exact.std()
        torch.testing.assert_close(gates.float().sum(dim=1), torch.ones_like(exact_gates[:, 0]), rtol=0, atol=0.01)


class TestGradients:
    def test_gradient_reaches_every_parameter(self, network: I2Net) -> None:
        # eval mode: in training a bias before batch normalisation has a true gradient of 0
        logits = network(make_image(network, (33, 47)))
        gradients = torch.autograd.grad((logits * torch.randn_like(logits)).sum(), list(network.parameters()))
        named = dict(zip([name for name, _ in network.named_parameters()], gradients, strict=True))
        # the finest level is queried at its own cell centres: rel_coord is 0, whatever its frequencies
        named.pop("decoder.encodings.0.frequencies", None)
        assert [
            name for name, gradient in named.items() if not (torch.isfinite(gradient).all() and gradient.any())
        ] == []

    @pytest.mark.parametrize("num_learners", [1, 2, 3, 8])
    def test_training_gives_every_parameter_a_finite_gradient(self, num_learners: int) -> None:
        network = small_i2net(num_learners, pos_dim=8).train()
        logits = network(torch.randn(2, 1, 17, 23))
        (logits * torch.randn_like(logits)).sum().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


class TestTorchScript:
    def test_a_saved_script_gives_the_same_at_another_size(self, network: I2Net, tmp_path: Path) -> None:
        path = tmp_path / "network.ts"
        torch.jit.script(network).save(path)
        scripted = torch.jit.load(path)
        with torch.no_grad():
            for size in ((33, 47), (48, 32)):
                image = make_image(network, size)
                torch.testing.assert_close(scripted(image), network(image), rtol=1e-4, atol=1e-5)


class TestOnnx:
    def test_an_export_gives_the_same_at_sizes_that_it_was_not_traced_with(
        self, network: I2Net, tmp_path: Path
    ) -> None:
        onnxruntime = pytest.importorskip("onnxruntime")
        path, axes = tmp_path / "network.onnx", {0: "batch", 2: "height", 3: "width"}
        with torch.no_grad():
            torch.onnx.export(
                network,
                (make_image(network, (96, 64), batch=2),),
                path,
                dynamo=False,
                input_names=["image"],
                output_names=["pred"],
                dynamic_axes={"image": axes, "pred": axes},
            )
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        # 522 rows: a query between two cells, see `nearest_cells`
        for size, batch in (((96, 64), 2), ((64, 128), 3), ((75, 91), 1), ((522, 40), 1)):
            image = make_image(network, size, batch)
            with torch.no_grad():
                expected = network(image)
            found = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


class TestParts:
    def test_neck_projects_normalises_and_rectifies_every_level(self) -> None:
        neck = Neck((3, 5), 4).eval()
        randomise_batch_norms(neck)
        levels = [torch.randn(2, 3, 4, 6), torch.randn(2, 5, 2, 3)]
        assert neck.out_channels == (4, 4)
        for level, found, (conv, bn, _) in zip(levels, neck(levels), neck.projections, strict=True):
            mapped = torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], level) + conv.bias.view(1, -1, 1, 1)
            scale = bn.weight / (bn.running_var + bn.eps).sqrt()
            shift = bn.bias - bn.running_mean * scale
            expected = (mapped * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)).clamp_min(0)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_head_takes_the_skip_feature_first(self) -> None:
        head = SkipHead(skip_channels=1, decoded_channels=1, out_channels=2)
        head.conv.weight.data = torch.tensor([[2.0, 0.0], [0.0, 3.0]])[:, :, None, None]
        head.conv.bias.data = torch.tensor([0.5, 0.0])
        logits = head(torch.full((1, 1, 4, 4), 1.0), torch.full((1, 1, 2, 2), 5.0))
        assert logits.shape == (1, 2, 4, 4)
        assert logits[0, 0].unique().item() == 2.5  # 2 · 1 + 0.5
        assert logits[0, 1].unique().item() == 15.0  # 3 · 5

    def test_decoded_head_ignores_the_skip_feature(self) -> None:
        decoded = torch.randn(1, 2, 3, 3)
        assert DecodedHead()(torch.randn(1, 4, 6, 6), decoded) is decoded

    def test_resizing_aligns_cell_areas(self) -> None:
        # cells of [0, 1] centred at 1/4 and 3/4; queries at 1/8 3/8 5/8 7/8, outer ones clamped: 0, 1/4, 3/4, 1
        assert resize(torch.tensor([[[[0.0, 1.0]]]]), 1, 4).flatten().tolist() == [0.0, 0.25, 0.75, 1.0]

    def test_resizing_to_the_same_size_changes_nothing(self) -> None:
        x = torch.randn(1, 2, 3, 5)
        torch.testing.assert_close(resize(x, 3, 5), x)

    def test_any_encoder_neck_and_head_can_be_injected(self) -> None:
        network = small_i2net()
        network.head = DecodedHead()
        rebuilt = I2Net(network.encoder, nn.Identity(), network.decoder, network.head)
        assert rebuilt(torch.randn(2, 1, 16, 16)).shape == (2, 5, 16, 16)
