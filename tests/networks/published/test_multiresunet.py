"""MultiResUNet has the widths and the size of its paper."""

from __future__ import annotations

import torch

from i2net_bundle.networks.published.multiresunet import MultiResBlock, MultiResUNet


def test_blocks_are_as_wide_as_in_table_1_of_the_paper() -> None:
    assert [MultiResBlock.channels(width) for width in (32, 64, 128, 256, 512)] == [51, 105, 212, 426, 853]


def test_the_network_has_the_papers_number_of_parameters() -> None:
    """The paper counts running statistics too; its norms after convolutions have no scale, and one follows the head."""
    network = MultiResUNet(in_channels=3, out_channels=1).to("meta")
    parameters = sum(p.numel() for p in network.parameters())
    norms = {name: m.num_features for name, m in network.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    scales = sum(width for name, width in norms.items() if not name.endswith("norm"))
    assert parameters + 2 * sum(norms.values()) - scales + 2 == 7_262_750


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    network = MultiResUNet(2, 3, widths=(6, 12, 24))
    network(torch.randn(2, 2, 16, 24)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
