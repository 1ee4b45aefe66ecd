"""Transformers of MONAI at any image size, equal to MONAI's own at the size of the learned positions."""

from __future__ import annotations

import monai.networks.nets
import pytest
import torch
from monai.networks.nets import ViT

from i2net_bundle.networks.published import SETRPUP, UNETR, TransUNet
from i2net_bundle.networks.published.vit import ResizedPositions, ViTEncoder

SMALL = {"hidden_size": 24, "num_layers": 2, "num_heads": 3}


def fill(network: torch.nn.Module, stock: torch.nn.Module) -> None:
    missing, unexpected = network.load_state_dict(stock.state_dict(), strict=False)
    assert not missing and all(".norm_cross_attn." in name for name in unexpected)


def test_the_encoder_equals_monais_transformer_at_the_learned_grid() -> None:
    torch.manual_seed(0)
    stock = ViT(2, (24, 40), 8, 24, 96, 2, 3, spatial_dims=2, qkv_bias=True).eval()
    encoder = ViTEncoder(2, 8, (3, 5), **SMALL).eval()
    fill(encoder.vit, stock)
    image = torch.randn(2, 2, 24, 40)
    expected = stock(image)[0].transpose(1, 2).reshape(2, 24, 3, 5)
    torch.testing.assert_close(encoder(image), expected)


def test_positions_are_resized_to_other_grids() -> None:
    torch.manual_seed(0)
    embedding = ResizedPositions(1, (2, 2), 4, 6, 3)
    with torch.no_grad():
        ramp = torch.tensor([0.0, 0, 1, 1])  # from the upper to the lower row
        embedding.position_embeddings.copy_(ramp[None, :, None].expand(1, 4, 6))
        found = embedding(torch.zeros(1, 1, 16, 8)) - embedding.patch_embeddings.bias
    rows = found.reshape(4, 2, 6)
    assert torch.equal(rows[:, 0], rows[:, 1])
    assert (rows[1:, 0, 0] > rows[:-1, 0, 0]).all()
    assert float(rows.mean()) == pytest.approx(0.5)


def test_unetr_equals_monais_at_its_own_size() -> None:
    torch.manual_seed(0)
    stock = monai.networks.nets.UNETR(1, 2, (32, 48), norm_name="batch", spatial_dims=2).eval()
    network = UNETR(1, 2, grid=(2, 3)).eval()
    fill(network, stock)
    image = torch.randn(1, 1, 32, 48)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), stock(image))


@pytest.mark.parametrize("build", [SETRPUP, TransUNet])
def test_every_parameter_gets_a_gradient_off_the_learned_grid(build: type[torch.nn.Module]) -> None:
    torch.manual_seed(0)
    network = build(in_channels=2, out_channels=3, grid=(2, 2), num_layers=1)
    logits = network(torch.randn(2, 2, 32, 64))
    assert logits.shape == (2, 3, 32, 64)
    logits.square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
