"""Metadata of a package in MONAI's schema, and its model card."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from i2net_bundle.transforms.separation_targets import NO_SEPARATION
from i2net_bundle.workflow.run_records import RunRecord

_I2NETS = (
    "i2net_bundle.networks.glas_i2net",
    "i2net_bundle.networks.synapse_i2net",
    "i2net_bundle.networks.cityscapes_i2net",
)
_PEERS = "i2net_bundle.networks.peer_network"
_MODALITIES = {"ct": "CT", "mr": "MR", "histology": "histology"}


def package_metadata(base: Mapping[str, Any], record: RunRecord, out_channels: int) -> dict[str, Any]:
    """Adapt the metadata of a task to a package.

    Args:
        base: content of the task's metadata file, which describes I²Net on the task's own data set.
        record: task, network, classes, channels and divisor of the package.
        out_channels: channels of the network's logits.

    Returns:
        metadata with the channels and classes of the package. Name, description, data source and references are
        replaced if the data or the network differ from those of ``base``.
    """
    metadata = copy.deepcopy(dict(base))
    names, channels = [item.name for item in record.classes or ()], list(record.channels or ())
    image, pred = metadata["network_data_format"]["inputs"]["image"], metadata["network_data_format"]["outputs"]["pred"]
    same_data = names == list(pred["channel_def"].values()) and len(channels) == image["num_channels"]
    side = f"{record.divisor}*n"
    modality = _MODALITIES.get(record.task or "", "image")
    image |= {"num_channels": len(channels), "spatial_shape": [side, side], "modality": modality}
    if record.task != "histology":
        image["channel_def"] = {str(index): name for index, name in enumerate(channels)}
        if channels != ["CT"]:
            image |= {"format": "magnitude", "value_range": []}
    pred |= {
        "num_channels": out_channels,
        "spatial_shape": [side, side],
        "channel_def": {str(index): name for index, name in enumerate(names)},
    }
    separation = record.value("separation", NO_SEPARATION)
    if separation != NO_SEPARATION:
        pred["channel_def"] = {"0": names[1], "1": separation}
        metadata["pred_classes"] = f"2 channels of logits; above 0 is {names[1]}, and {separation} to tell them apart"
    if not same_data:
        metadata["task"] = f"Segmentation of {', '.join(names[1:])} in {modality}"
        metadata["data_source"] = "not recorded"
        metadata["label_classes"] = f"single channel, class indices 0 to {len(names) - 1}"
        metadata["pred_classes"] = f"{out_channels} channels of logits, see channel_def"
        metadata["image_classes"] = f"channels {', '.join(channels)}"
        metadata["references"] = metadata["references"][:1]
    if not is_i2net(record) or not same_data:
        kind = "I2Net" if is_i2net(record) else network_name(record)
        metadata["name"] = f"{kind} {modality} segmentation of {', '.join(names[1:])}"
        metadata["description"] = f"{kind} segments {', '.join(names[1:])} in {modality}."
    if not is_i2net(record):
        metadata["references"] = metadata["references"][1:]
    return metadata


def model_card(card: str, metadata: Mapping[str, Any], record: RunRecord) -> str:
    """Write the model card of a package, ``docs/README.md``.

    Args:
        card: model card of this bundle, used for its own networks.
        metadata: metadata of the package.
        record: record of the package.
    """
    weights = metadata["packaged_weights"]
    note = f"This folder: {metadata['name']}. Weights as packaged: {weights['origin']}; SHA-256\n`{weights['sha256']}`."
    if is_i2net(record):
        return card.replace("\n\n", f"\n\n{note}\n\n", 1)
    target = record.network.target if record.network is not None else "unknown"
    return (
        f"# {metadata['name']}\n\n{note}\n\nNetwork: `{target}`, see `network_def` in `configs/inference.json`. Task: "
        f"{metadata['task']}.\n\nNot for clinical use. Code: Apache-2.0 (`LICENSE`). Data: none is distributed; see "
        "`docs/data_license.txt`.\n"
    )


def is_i2net(record: RunRecord) -> bool:
    """Whether a network is one of the paper's I²Nets."""
    return record.network is not None and record.network.target in _I2NETS


def network_name(record: RunRecord) -> str:
    """Name of a network's class, or of the decoder of a network of Table 1."""
    if record.network is None:
        return "Network"
    if record.network.target == _PEERS and record.network.arguments is not None:
        return f"{record.network.arguments['decoder']} decoder"
    return record.network.target.rpartition(".")[2]
