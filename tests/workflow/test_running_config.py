"""Components read the configuration that builds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from i2net_bundle.workflow.config_files import config_files
from i2net_bundle.workflow.running_config import component_settings, shipped_ids, training_settings


def network_of(network_def: dict[str, Any], **others: Any) -> Any:
    parser = ConfigParser({"network_def": network_def, **others})
    parser["found"] = {"_target_": "i2net_bundle.workflow.component_settings", "id": "network_def"}
    return parser.get_parsed_content("found")


def test_references_of_a_network_are_resolved() -> None:
    network = {"_target_": "UNet", "_desc_": "x", "in_channels": "@n", "channels": [4, "$2 * 4"], "strides": [2]}
    assert network_of(network, n=3) == {
        "target": "monai.networks.nets.UNet",
        "arguments": {"in_channels": 3, "channels": [4, 8], "strides": [2]},
    }


@pytest.mark.parametrize(
    ("target", "public"),
    [
        ("monai.networks.nets.unet.UNet", "monai.networks.nets.UNet"),
        ("i2net_bundle.networks.i2net.glas_i2net", "i2net_bundle.networks.glas_i2net"),
        ("torch.nn.modules.conv.Conv2d", "torch.nn.Conv2d"),
        ("my_networks.Net", "my_networks.Net"),
    ],
)
def test_a_network_is_recorded_under_its_public_path(target: str, public: str) -> None:
    assert network_of({"_target_": target})["target"] == public


def test_arguments_beyond_plain_data_are_not_recorded() -> None:
    network = {"_target_": "torch.nn.Sequential", "modules": {"_target_": "torch.nn.Identity"}}
    assert network_of(network) == {"target": "torch.nn.Sequential", "arguments": None}


def test_a_network_other_than_a_component_is_not_recorded() -> None:
    assert network_of("$torch.nn.Identity()") is None  # type: ignore[arg-type]


def test_the_record_contains_every_setting_that_must_not_change() -> None:
    parser = ConfigParser()
    parser.read_config(config_files("train.json"))
    parser["warmup"] = 5
    parser["lr_scheduler::total_iters"] = "$@warmup * 2"
    parser["unused"] = 1
    parser["found"] = {"_target_": "i2net_bundle.workflow.training_settings"}
    found = parser.get_parsed_content("found")
    assert {"epochs": 150, "learning_rate": 0.01, "lambda_lo": 0.25, "seed": 0, "warmup": 5}.items() <= found.items()
    assert {"num_learners", "batch_size", "accumulation_steps", "weight_average", "amp"} <= found.keys()
    assert not {"output_dir", "dataset_dir", "device", "num_workers", "resume", "unused", "num_classes"} & found.keys()


def test_settings_that_the_network_does_not_use_are_not_recorded() -> None:
    parser = ConfigParser()
    parser.read_config(config_files("train.json", "unet.yaml"))
    parser["found"] = {"_target_": "i2net_bundle.workflow.training_settings"}
    assert "num_learners" not in parser.get_parsed_content("found")


def test_every_top_level_id_of_the_shipped_workflows_may_be_unused() -> None:
    assert {"epochs", "split", "overwrite", "encoder_weights", "weights_settings"} <= shipped_ids()
    assert not any(name.startswith("_") for name in shipped_ids())


@pytest.mark.parametrize("component", [lambda: component_settings("network_def"), training_settings])
def test_components_refuse_to_run_outside_a_configuration(component: Any) -> None:
    with pytest.raises(RuntimeError, match="works only inside a bundle configuration"):
        component()


def test_a_setting_can_be_read_before_anything_else_is_built(tmp_path: Path) -> None:
    parser = ConfigParser({"a": 3, "found": {"_target_": "builtins.dict", "x": "@a"}})
    assert parser.get_parsed_content("found") == {"x": 3}
