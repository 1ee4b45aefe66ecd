"""Networks that an overlay puts in place of I²Net."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

CONFIGS = Path(__file__).parents[2] / "configs"
OVERLAYS = (
    *("unet", "unet_plus_plus", "attention_unet", "vnet", "r50_unet", "swin_unetr", "segresnet", "unetr"),
    *("multiresunet", "cenet", "r50_attention_unet", "setr_pup", "transunet", "segformer", "upernet_swin"),
)


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize(("channels", "classes"), [(1, 9), (3, 1)], ids=["CT", "histology"])
def test_an_overlays_network_maps_images_to_logits_at_sizes_of_its_divisor(
    name: str, channels: int, classes: int
) -> None:
    config = ConfigParser.load_config_file(str(CONFIGS / f"{name}.yaml"))
    parser = ConfigParser({**config, "num_channels": channels, "out_channels": classes})
    if name in ("segformer", "upernet_swin"):
        pytest.importorskip("transformers")
    if name == "vnet" and channels == 3:
        with pytest.raises(RuntimeError):
            parser.get_parsed_content("network_def")
        return
    network, side = parser.get_parsed_content("network_def").eval(), max(64, config["divisor"])
    with torch.inference_mode():
        logits = network(torch.zeros(2, channels, side, side + config["divisor"]))
    assert logits.shape == (2, classes, side, side + config["divisor"])
