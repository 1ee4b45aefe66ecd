"""A network is built from its record if that is safe; otherwise its configuration is requested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import UNet

from i2net_bundle.networks import I2Net
from i2net_bundle.workflow.recorded_network import build_network, can_build
from i2net_bundle.workflow.run_records import NetworkRecord
from tests.workflow.records import UNET, write


def test_a_monai_network_is_built_with_its_arguments() -> None:
    network = build_network(NetworkRecord(**UNET))
    assert isinstance(network, UNet)
    assert network(torch.zeros(1, 1, 16, 16)).shape == (1, 3, 16, 16)


def test_a_network_of_this_bundle_is_built_by_its_function() -> None:
    record = NetworkRecord("i2net_bundle.networks.synapse_i2net", {"num_learners": 2, "out_channels": 3})
    network = build_network(record)
    assert isinstance(network, I2Net)
    assert network.learner_parameters()[0][0].shape[0] == 2


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.run",
        "monai.networks.nets.unet.os.system",
        "monai.networks.nets.torch.hub.load",
        "monai.networks.nets.unet.warnings.warn",
        "monai.networks.nets.unet",
        "monai.networks.nets.resnet18",
        "monai.networks.nets._absent",
        "monai.networks.utils.eval_mode",
        "i2net_bundle.networks.weights.load_network",
        "i2net_bundle.networks.for_training",
        "i2net_bundle.networks.has_gates",
        "my_networks.Net",
    ],
)
def test_nothing_else_is_built(target: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be built|does not build a network"):
        build_network(NetworkRecord(target, {}))


def test_arguments_that_do_not_fit_the_network_are_named() -> None:
    with pytest.raises(ValueError, match=r"UNet cannot be built with .*unexpected keyword argument 'colour'"):
        build_network(NetworkRecord(UNET["target"], {**UNET["arguments"], "colour": 1}))


def test_a_network_downloads_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda *_, **__: pytest.fail("downloads weights"))
    arguments = {"in_channels": 3, "out_channels": 1, "backbone": "efficientnet-b0", "pretrained": True}
    build_network(NetworkRecord("monai.networks.nets.FlexibleUNet", arguments))


@pytest.mark.parametrize("channels", [[10**6, 10**6], [1] * 100_000])
def test_a_record_of_a_network_larger_than_its_weights_is_refused_before_memory_is_taken(
    tmp_path: Path, channels: list[int]
) -> None:
    arguments = {**UNET["arguments"], "channels": channels, "strides": [1] * (len(channels) - 1)}
    weights = write(tmp_path, network={"target": UNET["target"], "arguments": arguments})
    with pytest.raises(ValueError, match=r"settings\.json: monai\.networks\.nets\.UNet cannot be built with"):
        parsed(weights, SMALL)


def test_a_network_with_arguments_beyond_plain_data_cannot_be_built() -> None:
    assert can_build(NetworkRecord(**UNET)) and not can_build(NetworkRecord(UNET["target"], None))


def parsed(weights: Path, network_def: dict[str, Any]) -> Any:
    """The network that an inference configuration gets for weights."""
    parser = ConfigParser()
    parser["record"] = {"_target_": "i2net_bundle.workflow.run_record", "weights": str(weights)}
    parser["network_def"] = network_def
    parser["network"] = {
        "_target_": "i2net_bundle.workflow.network_of_run",
        "record": "@record",
        "network": "@network_def",
    }
    try:
        return parser.get_parsed_content("network")
    except RuntimeError as wrapped:
        assert wrapped.__cause__ is not None
        raise wrapped.__cause__ from None


SMALL = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 1}


def test_the_recorded_network_replaces_that_of_the_configuration(tmp_path: Path) -> None:
    assert isinstance(parsed(write(tmp_path), SMALL), UNet)


def test_without_a_record_the_configurations_network_is_used(tmp_path: Path) -> None:
    assert isinstance(parsed(tmp_path / "model.pt", SMALL), torch.nn.Conv2d)


def test_a_users_own_network_comes_from_the_configuration_that_names_it(tmp_path: Path) -> None:
    weights = write(tmp_path, network={"target": "torch.nn.Conv2d", "arguments": None})
    assert isinstance(parsed(weights, SMALL), torch.nn.Conv2d)


def test_a_users_own_network_without_its_configuration_is_refused(tmp_path: Path) -> None:
    weights = write(tmp_path, network={"target": "my_networks.Net", "arguments": {"width": 8}})
    with pytest.raises(
        ValueError, match=r"weights belong to my_networks\.Net, but the configuration builds .*--overlay"
    ):
        parsed(weights, SMALL)


@pytest.mark.parametrize("smuggled", ["network", "training"])
def test_nothing_of_a_record_is_executed(smuggled: str, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    command = f"touch {trace}"
    content = {
        "network": {"network": {"target": "os.system", "arguments": {"command": command}}},
        "training": {"training": {"x": {"_target_": "os.system", "command": command}, "y": f"$open('{trace}', 'w')"}},
    }[smuggled]
    weights = write(tmp_path, **content)
    with pytest.raises(ValueError, match=r"settings\.json"):
        parsed(weights, SMALL)
    assert not trace.exists() and json.loads((tmp_path / "settings.json").read_text())
