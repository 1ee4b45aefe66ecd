"""The encoder has its own learning rate, and no parameter is left out."""

from __future__ import annotations

from collections.abc import Callable

import torch

from i2net_bundle.networks import I2Net
from i2net_bundle.training import parameter_groups


def test_every_parameter_is_in_one_group_and_the_encoder_in_the_slower_one(make_network: Callable[..., I2Net]) -> None:
    network = make_network()
    rest, encoder = parameter_groups(network, 0.1, 0.3)
    assert (rest["lr"], encoder["lr"]) == (0.1, 0.1 * 0.3)
    assert {id(p) for p in encoder["params"]} == {id(p) for p in network.encoder.parameters()}
    assert sorted(map(id, rest["params"] + encoder["params"])) == sorted(map(id, network.parameters()))
    torch.optim.AdamW([rest, encoder], lr=0.1)


def test_a_network_without_an_encoder_trains_at_one_rate() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Conv2d(2, 2, 1))
    (group,) = parameter_groups(network, 0.1, 0.3)
    assert group["lr"] == 0.1
    assert list(map(id, group["params"])) == list(map(id, network.parameters()))
