"""Evaluator handlers that load the weights and show the progress."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers.tqdm_logger import ProgressBar
from torch import nn

from i2net_bundle.networks.weights import load_network
from i2net_bundle.prediction.training_data import report_training_data
from i2net_bundle.workflow.run_records import run_record
from i2net_bundle.workflow.run_settings import require_settings


class LoadWeights:
    """Load a network's weights when an evaluator starts, and log their training data; the file must be complete.

    Args:
        network: the network.
        path: weights from a training run, ``model.pt`` or a checkpoint.
        settings: settings to compare with those of the training run, see `require_settings`.
    """

    def __init__(self, network: nn.Module, path: str | Path, settings: Mapping[str, Any] | None = None) -> None:
        self.network, self.path, self.settings = network, path, dict(settings or {})

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._load)

    def _load(self) -> None:
        require_settings(self.path, self.settings)
        load_network(self.network, self.path)
        report_training_data(Path(self.path), run_record(self.path))


class CaseProgressBar:
    """Progress bar over the cases.

    Args:
        desc: label of the bar.
    """

    def __init__(self, desc: str = "cases") -> None:
        self.desc = desc

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        ProgressBar(persist=False, disable=None, desc=self.desc).attach(engine)
