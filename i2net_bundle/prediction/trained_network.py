"""Load trained networks with everything that belongs to them, from the bundle's own inference configuration.

Preprocessing, inferer and intensities come from ``configs/inference.json`` and its overlays. Task, network, classes,
channels and sizes come from the record of the weights. So predictions equal those of ``python -m monai.bundle run`` and
of MONAI Label.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn

from i2net_bundle.data import DataDescription
from i2net_bundle.hardware import usable_device
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.io.writing import file_sha256
from i2net_bundle.networks.weights import load_network
from i2net_bundle.prediction.gland_instances import GlandSeparator
from i2net_bundle.prediction.training_data import report_training_data
from i2net_bundle.tasks import TASKS
from i2net_bundle.transforms.separation_targets import NO_SEPARATION
from i2net_bundle.workflow.config_check import as_names, refuse_unknown_keys
from i2net_bundle.workflow.config_files import bundle_root, config_files
from i2net_bundle.workflow.run_records import RunRecord, run_record
from i2net_bundle.workflow.run_settings import require_settings
from i2net_bundle.workflow.shipped_weights import default_weights

DEFAULT_TASK = "ct"
_PLACES = ("bundle_root", "dataset_dir", "output_dir", "weights", "device")  # they do not change a prediction


@dataclass
class TrainedNetwork:
    """Networks of one or several weights files, and the components that prepare and run them.

    Attributes:
        weights: weights files.
        records: record of each weights file; empty if there is none.
        networks: one network per weights file.
        device: device of the networks.
        task: "ct", "mr" or "histology".
        description: classes, channels and label values.
        options: how files are read.
        preprocessing: file to network input.
        inferer: runs a network on the input.
        intensity: intensity transform of the preprocessing.
        separator: divides the mask of glands; None if the network does not separate them.
        configuration: SHA-256 of the configuration, without paths and device.
    """

    weights: list[Path]
    records: list[RunRecord]
    networks: list[nn.Module]
    device: torch.device
    task: str
    description: DataDescription
    options: VolumeOptions | HistologyOptions
    preprocessing: Any
    inferer: Any
    intensity: Any
    separator: GlandSeparator | None
    configuration: str

    @property
    def training_data(self) -> str | None:
        """Training data of the weights in words; None if they are not recorded."""
        return "; ".join(dict.fromkeys(item.training_data for item in self.records if item.training_data)) or None

    def describe(self) -> dict[str, Any]:
        """Describe task, weights and settings for the record. A series UID is not included."""
        described = ("classes", "channels", "ignore_id", "num_classes")
        reading = {
            name: value
            for name, value in vars(self.options).items()
            if name not in described and value not in (None, False)
        }
        if isinstance(reading.get("series"), str):
            reading["series"] = "chosen by UID"
        weights = [
            {
                "file": path.name,
                "sha256": file_sha256(path),
                "trained_on": record.training_data,
                "data_licence": record.data_licence,
            }
            for path, record in zip(self.weights, self.records, strict=True)
        ]
        return {
            "task": self.task,
            "class_names": self.description.class_names,
            "classes": [item.as_json() for item in self.description.classes],
            "channels": list(self.description.channels),
            "weights": weights,
            "reading": reading,
            "configuration_sha256": self.configuration,
        }

    def report_training_data(self) -> None:
        """Log the training data of each weights file, see `i2net_bundle.prediction.training_data`."""
        for path, record in zip(self.weights, self.records, strict=True):
            report_training_data(path, record)


def load_trained_network(
    weights: str | Path | Sequence[str | Path] | None = None,
    task: str | None = None,
    *,
    bundle: str | Path | None = None,
    overlays: Sequence[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
    reading: Mapping[str, Any] | None = None,
    label_table: str | Path | None = None,
    device: str | torch.device | None = None,
) -> TrainedNetwork:
    """Load the networks of weights files; arguments and errors as in `i2net_bundle.prediction.predictor.Predictor`."""
    root = Path(bundle) if bundle is not None else bundle_root()
    paths = _paths(weights) or [default_weights(task, bundle)]
    if not weights and task is None and not paths[0].is_file():
        raise FileNotFoundError(
            f"No weights at {paths[0]}. Pass those of a training run with --weights. Gland weights come with the "
            "bundle: for histology, pass --task histology."
        )
    files: list[str | Path] = [root / "configs" / "inference.json"]
    if bundle is None:
        files += config_files(*TASKS[task_of_weights(paths[0], task)].overlays)
    config = _configuration(files, overlays, run_record(paths[0]))
    settings = {"bundle_root": str(root), **(overrides or {})}
    settings |= {f"reading_options::{name}": value for name, value in (reading or {}).items()}
    settings |= {} if label_table is None else {"label_table": str(label_table)}
    settings |= {} if device is None else {"device": usable_device(device)}
    for name, value in settings.items():
        config[name] = as_names(name, value)
    refuse_unknown_keys(config.get())
    digest = _digest(config)

    networks, classes, separations = [], {}, {}
    for path in paths:
        config["weights"] = str(path.absolute())
        networks.append(config.get_parsed_content("network", lazy=False))
        require_settings(path, config.get_parsed_content("weights_settings"))
        load_network(networks[-1], path)
        classes[path] = config.get_parsed_content("class_names")
        separations[path] = config.get_parsed_content("separation") if "separation" in config else NO_SEPARATION
    _refuse_different_classes(classes)
    refuse_different_separations(separations)
    return TrainedNetwork(
        weights=paths,
        records=[run_record(path) for path in paths],
        networks=networks,
        device=usable_device(config.get_parsed_content("device")),
        task=config.get_parsed_content("task"),
        description=config.get_parsed_content("description"),
        options=config.get_parsed_content("reading_options"),
        preprocessing=config.get_parsed_content("preprocessing"),
        inferer=config.get_parsed_content("inferer"),
        intensity=config.get_parsed_content("intensity"),
        separator=config.get_parsed_content("separator") if "separator" in config else None,  # older packages lack it
        configuration=digest,
    )


def task_of_weights(weights: str | Path, task: str | None = None) -> str:
    """Return the task of weights: the recorded one, else ``task``, else "ct".

    Raises:
        ValueError: the task is unknown, or the weights were trained for another one.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"Unknown task '{task}'. The tasks are {', '.join(TASKS)}.")
    recorded = run_record(weights).task
    if task is not None and recorded is not None and task != recorded:
        raise ValueError(f"{weights} was trained for the task '{recorded}', not '{task}'. Leave --task out.")
    return recorded or task or DEFAULT_TASK


def _paths(weights: str | Path | Sequence[str | Path] | None) -> list[Path]:
    if weights is None:
        return []
    return [Path(weights)] if isinstance(weights, str | Path) else [Path(path) for path in weights]


def _configuration(files: Sequence[str | Path], overlays: Sequence[str | Path], record: RunRecord) -> ConfigParser:
    if not Path(files[0]).is_file():
        raise FileNotFoundError(f"{files[0]} does not exist. Pass the folder of a packaged bundle.")
    missing = [str(path) for path in overlays if not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(
            f"The configuration {missing[0]} does not exist. Those of the bundle are in {bundle_root() / 'configs'}."
        )
    parser = ConfigParser()
    parser.read_config([str(path) for path in (*files, *overlays)])
    own = ConfigParser.load_config_files([str(path) for path in overlays]) if overlays else {}
    if record.divisor is not None and "divisor" not in own:
        parser["divisor"] = record.divisor
    return parser


def _digest(config: ConfigParser) -> str:
    content = {name: value for name, value in config.get().items() if name not in _PLACES}
    return hashlib.sha256(json.dumps(_without_comments(content), sort_keys=True, default=str).encode()).hexdigest()


def _without_comments(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_comments(item) for name, item in value.items() if name != "_desc_"}
    return [_without_comments(item) for item in value] if isinstance(value, list) else value


def _refuse_different_classes(classes: Mapping[Path, Sequence[str]]) -> None:
    first, *others = classes
    for path in others:
        if list(classes[path]) != list(classes[first]):
            raise ValueError(
                f"{first} segments {', '.join(classes[first])}; {path} segments {', '.join(classes[path])}. Only "
                "weights of the same classes can be averaged."
            )


def refuse_different_separations(separations: Mapping[Path, str]) -> None:
    """Check that weights separate glands in the same way.

    Args:
        separations: by path of the weights, one of `i2net_bundle.transforms.separation_targets.SEPARATIONS` or "none".

    Raises:
        ValueError: two of them differ.
    """
    first, *others = separations
    for path in others:
        if separations[path] != separations[first]:
            raise ValueError(
                f"{first} separates glands by '{separations[first]}'; {path} by '{separations[path]}'. Only weights of "
                "the same separation can be averaged."
            )
