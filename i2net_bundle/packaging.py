"""One task as a bundle folder that needs nothing else: for MONAI Label, a model zoo, a hub or a federated client."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from i2net_bundle.io.writing import file_sha256, staged_folder, written_whole
from i2net_bundle.networks import I2Net
from i2net_bundle.networks.weights import load_encoder, load_network
from i2net_bundle.workflow.config_files import bundle_root, config_files
from i2net_bundle.workflow.describe import describe
from i2net_bundle.workflow.run_folders import WEIGHTS_NAME
from i2net_bundle.workflow.run_settings import SETTINGS_NAME, require_settings

_WORKFLOWS = ("train.json", "evaluate.json", "inference.json")
_UNCHANGED = ("LICENSE", "configs/logging.conf", "configs/multi_gpu_train.yaml", "docs/data_license.txt")
_OWN_WEIGHTS = {"encoder_weights": "none"}
"""Training goes on from the package's weights, where pretrained ones would overwrite their encoder."""


@dataclass(frozen=True)
class Task:
    """Which of the bundle's files a task is made of: metadata, overlays of every workflow, and those of training."""

    metadata: str
    overlays: tuple[str, ...] = ()
    train_overlays: tuple[str, ...] = ()


TASKS = {"synapse": Task("metadata.json"), "glas": Task("metadata_glas.json", ("glas.yaml",), ("glas_train.yaml",))}


@dataclass(frozen=True)
class Weights:
    """Where a package's weights come from.

    Attributes:
        path: trained weights; freshly initialised ones where not given.
        encoder: of fresh ones, see `i2net_bundle.networks.weights.load_encoder`.
        seed: of fresh ones.
        origin: what the package says of them; by default told by the other three.
    """

    path: str | Path | None = None
    encoder: str | Path | None = None
    seed: int = 0
    origin: str | None = None

    def described(self) -> str:
        """What these weights are, in words."""
        if self.origin:
            return self.origin
        if self.path is not None:
            return f"trained, from {Path(self.path).name}"
        if self.encoder is not None:
            source = "ImageNet" if self.encoder == "imagenet" else Path(self.encoder).name
            return f"UNTRAINED: encoder from {source}, the rest freshly initialised (seed {self.seed})"
        return f"UNTRAINED: freshly initialised (seed {self.seed})"

    def fill(self, network: I2Net) -> None:
        """Fill a network; see `load_network` and `load_encoder` for errors."""
        if self.path is not None:
            load_network(network, self.path)
        elif self.encoder is not None:
            load_encoder(network.encoder, self.encoder)


def package_bundle(
    task: str,
    out_dir: str | Path,
    weights: Weights,
    overlays: Sequence[str | Path] = (),
    train_overlays: Sequence[str | Path] = (),
) -> Path:
    """Write a self-contained bundle: plain configurations, metadata, licence, model card, code and weights.

    Args:
        task: "synapse" or "glas".
        out_dir: folder to write, absent or empty.
        weights: what ``models/model.pt`` is to hold.
        overlays: further configurations for training, evaluation and inference, as the weights were trained with.
        train_overlays: further configurations for training alone.

    Returns:
        the folder.

    Raises:
        FileExistsError: ``out_dir`` holds something.
        FileNotFoundError: weights or an overlay are missing.
        ValueError: the weights do not fit the configuration, or were trained with other settings.
    """
    parts = TASKS[task]
    shared = [*config_files(*parts.overlays), *overlays]
    root = bundle_root()
    with staged_folder(out_dir) as folder:
        for name in _WORKFLOWS:
            training = name == "train.json"
            extra = [*config_files(*parts.train_overlays), *train_overlays] if training else []
            config = _merged([*config_files(name), *shared, *extra])
            _write_json(folder / "configs" / name, config | _OWN_WEIGHTS if training else config)
        for name in _UNCHANGED:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(root / name, folder / name)
        unneeded = shutil.ignore_patterns("__pycache__", "_bundle")  # a wheel's package carries the whole bundle
        shutil.copytree(Path(__file__).parent, folder / "i2net_bundle", ignore=unneeded)
        digest = _write_weights(folder, weights)
        metadata = json.loads((root / "configs" / parts.metadata).read_text(encoding="utf-8"))
        metadata["description"] += f" Weights as packaged: {weights.described()}."
        metadata["packaged_weights"] = {"origin": weights.described(), "sha256": digest}
        _write_json(folder / "configs" / "metadata.json", metadata)
        card = (root / "docs" / "README.md").read_text(encoding="utf-8")
        note = f"This folder: {metadata['name']}. Weights as packaged: {weights.described()}; SHA-256\n`{digest}`."
        (folder / "docs" / "README.md").write_text(card.replace("\n\n", f"\n\n{note}\n\n", 1), encoding="utf-8")
    return Path(out_dir)


def _merged(files: Sequence[str | Path]) -> dict[str, Any]:
    missing = [str(path) for path in files if not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(f"No configuration {missing[0]}. The bundle's own lie in {bundle_root() / 'configs'}.")
    merged: dict[str, Any] = ConfigParser.load_config_files([str(path) for path in files])
    return merged


def _write_weights(folder: Path, weights: Weights) -> str:
    """Write ``model.pt`` and what it hangs on; returns its SHA-256."""
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "inference.json"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights.seed)
        network = parser.get_parsed_content("network_def")
    weights.fill(network)
    settings = parser.get_parsed_content("network_settings")
    if weights.path is not None:
        require_settings(weights.path, settings)
    path = folder / "models" / WEIGHTS_NAME
    with written_whole(path) as temporary:
        torch.save(network.state_dict(), temporary)
    record = None if weights.path is None else Path(weights.path).with_name(SETTINGS_NAME)
    if record is not None and record.is_file():
        shutil.copyfile(record, path.with_name(SETTINGS_NAME))
    else:
        _write_json(path.with_name(SETTINGS_NAME), {"network": describe(settings), "training": {}})
    return file_sha256(path)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
