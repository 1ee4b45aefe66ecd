"""Write one task as a self-contained bundle for MONAI Label, model zoos, hubs and federated clients."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn

from i2net_bundle.io.writing import file_sha256, staged_folder
from i2net_bundle.networks.tensor_files import save_tensors
from i2net_bundle.networks.weights import load_encoder, load_network
from i2net_bundle.packaging.metadata import model_card, package_metadata
from i2net_bundle.tasks import TASKS
from i2net_bundle.transforms.separation_targets import NO_SEPARATION
from i2net_bundle.workflow.config_files import bundle_root, config_files
from i2net_bundle.workflow.describe import describe
from i2net_bundle.workflow.run_folders import WEIGHTS_NAME
from i2net_bundle.workflow.run_records import NetworkRecord, RunRecord, run_record, write_record
from i2net_bundle.workflow.run_settings import require_settings
from i2net_bundle.workflow.running_config import WORKFLOWS

_UNCHANGED = ("LICENSE", "configs/logging.conf", "configs/multi_gpu_train.yaml", "docs/data_license.txt")
_OWN_PATH = f"$@bundle_root + '/models/{WEIGHTS_NAME}'"
_OWN_WEIGHTS = {"encoder_weights": "none", "init_weights": "none"}
"""Training starts from the package's own weights; other initial weights would replace them."""


@dataclass(frozen=True)
class Weights:
    """Source of a package's weights.

    Attributes:
        path: file of trained weights; None for random weights.
        encoder: encoder weights to combine with random ones, see `i2net_bundle.networks.weights.load_encoder`.
        seed: seed of random weights.
        origin: description for the metadata; derived from the other attributes by default.
    """

    path: str | Path | None = None
    encoder: str | Path | None = None
    seed: int = 0
    origin: str | None = None

    def described(self) -> str:
        """Describe the weights in words."""
        if self.origin:
            return self.origin
        if self.path is not None:
            return f"trained, from {Path(self.path).name}"
        if self.encoder is not None:
            source = "ImageNet" if self.encoder == "imagenet" else Path(self.encoder).name
            return f"UNTRAINED: encoder from {source}, all other weights random (seed {self.seed})"
        return f"UNTRAINED: random weights (seed {self.seed})"

    def fill(self, network: nn.Module) -> None:
        """Load the weights into a network; see `load_network` and `load_encoder` for further errors.

        Raises:
            ValueError: encoder weights are given, but the network has no ``encoder``.
        """
        if self.path is not None:
            load_network(network, self.path)
        elif self.encoder is not None:
            if not hasattr(network, "encoder"):
                raise ValueError(f"{type(network).__name__} has no 'encoder'. Leave --encoder-weights out.")
            load_encoder(network.encoder, self.encoder)  # type: ignore[arg-type]


def package_bundle(
    task: str,
    out_dir: str | Path,
    weights: Weights,
    overlays: Sequence[str | Path] = (),
    train_overlays: Sequence[str | Path] = (),
    label_table: str | Path | None = None,
) -> Path:
    """Write a self-contained bundle: plain configurations, metadata, license, model card, code and weights.

    Classes, channels, sizes and network come from the record of the weights and are written as literals.

    Args:
        task: "ct", "mr" or "histology".
        out_dir: output folder, absent or empty.
        weights: weights for ``models/model.pt``.
        overlays: further configurations for all workflows, for networks that are not built from a record.
        train_overlays: further configurations for training only.
        label_table: name of a built-in label table, or path of a table file: colors, codes and volumes of the classes.

    Returns:
        the output folder.

    Raises:
        FileExistsError: ``out_dir`` is not empty.
        FileNotFoundError: the weights or an overlay do not exist.
        ValueError: the weights do not fit the configuration, or were trained with other settings or for another task.
    """
    parts = TASKS[task]
    shared = [*config_files(*parts.overlays), *overlays]
    root = bundle_root()
    with staged_folder(out_dir) as folder:
        config = _merged([*config_files("inference.json"), *shared])
        packaged = _Packaged(task, config, weights, label_table, folder / "models" / WEIGHTS_NAME)
        for name in WORKFLOWS:
            training = name == "train.json"
            extra = [*config_files(*parts.train_overlays), *train_overlays] if training else []
            config = _merged([*config_files(name), *shared, *extra])
            own = _OWN_WEIGHTS if training else {}
            _write_json(folder / "configs" / name, packaged.literal(config) | own)
        for name in _UNCHANGED:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(root / name, folder / name)
        unneeded = shutil.ignore_patterns("__pycache__", "_bundle")  # the package in a wheel contains the bundle
        shutil.copytree(Path(__file__).parents[1], folder / "i2net_bundle", ignore=unneeded)
        digest = packaged.write_weights()
        base = json.loads((root / "configs" / parts.metadata).read_text(encoding="utf-8"))
        metadata = package_metadata(base, packaged.record, packaged.out_channels)
        metadata["description"] += f" Weights as packaged: {weights.described()}."
        metadata["packaged_weights"] = {"origin": weights.described(), "sha256": digest}
        _write_json(folder / "configs" / "metadata.json", metadata)
        card = (root / "docs" / "README.md").read_text(encoding="utf-8")
        (folder / "docs" / "README.md").write_text(model_card(card, metadata, packaged.record), encoding="utf-8")
    return Path(out_dir)


class _Packaged:
    """Network of a package with its weights, and their record."""

    def __init__(
        self, task: str, config: Mapping[str, Any], weights: Weights, label_table: str | Path | None, path: Path
    ) -> None:
        self.path = path  # output file of the weights
        parser = ConfigParser(dict(config))
        parser["weights"] = str(Path(weights.path or path).absolute())
        found = RunRecord() if weights.path is None else run_record(weights.path)
        if found.task not in (None, task):
            raise ValueError(
                f"{weights.path} was trained for the task '{found.task}', not '{task}'. Package it as '{found.task}'."
            )
        if found.divisor is not None:
            parser["divisor"] = found.divisor
        if label_table is not None:
            parser["label_table"] = str(label_table)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(weights.seed)
            self.network = parser.get_parsed_content("network::network")
        weights.fill(self.network)
        if weights.path is not None:
            require_settings(weights.path, parser.get_parsed_content("weights_settings"))
        description = parser.get_parsed_content("description")
        self.out_channels = int(parser.get_parsed_content("out_channels"))
        self.record = replace(
            found,
            task=task,
            network=found.network or _configured(parser),
            classes=tuple(description.classes),
            channels=tuple(description.channels),
            label_values=description.label_values,
            ignore_id=description.ignore_id,
            image_size=tuple(parser.get_parsed_content("image_size")),
            divisor=parser.get_parsed_content("divisor"),
            intensity=describe(parser.get_parsed_content("intensity")),
        )

    def literal(self, config: dict[str, Any]) -> dict[str, Any]:
        """Replace references in a configuration by the classes, channels, sizes and network of the package."""
        record, network = self.record, self.record.network
        values: dict[str, Any] = {
            "class_names": [item.name for item in record.classes or ()],
            "channels": list(record.channels or ()),
            "divisor": record.divisor,
            "dataset_name": record.task,
        }
        if "train" not in config or record.path is not None:  # otherwise training has its own size
            values["image_size"] = list(record.image_size or ())
        if "train" in config and "separation" in config:
            values["separation"] = record.value("separation", NO_SEPARATION)
        if network is not None and network.arguments is not None:
            comment = {name: config["network_def"][name] for name in ("_desc_",) if name in config["network_def"]}
            values["network_def"] = {**comment, "_target_": network.target, **network.arguments}
        values["description"] = {
            **config["description"],
            "_target_": "i2net_bundle.workflow.describe_run",
            "weights": config["description"].get("weights", _OWN_PATH),
        }
        if "weights" in config and not isinstance(config["weights"], str):  # a package has weights of its own
            values["weights"] = _OWN_PATH
        return config | values

    def write_weights(self) -> str:
        """Write ``model.pt`` and its record; returns the SHA-256 of the weights."""
        save_tensors(self.network.state_dict(), self.path)
        write_record(self.record, self.path.parent)
        return file_sha256(self.path)


def _configured(parser: ConfigParser) -> NetworkRecord | None:
    """Describe the network of a configuration for a record."""
    check: dict[str, Any] = {"_target_": "i2net_bundle.workflow.component_settings", "id": "network_def"}
    parser["configured_network"] = check
    found = parser.get_parsed_content("configured_network", lazy=False)
    return None if found is None else NetworkRecord(**found)


def _merged(files: Sequence[str | Path]) -> dict[str, Any]:
    missing = [str(path) for path in files if not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(
            f"The configuration {missing[0]} does not exist. Those of the bundle are in {bundle_root() / 'configs'}."
        )
    merged: dict[str, Any] = ConfigParser.load_config_files([str(path) for path in files])
    return merged


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
