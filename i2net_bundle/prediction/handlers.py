"""Handlers of an evaluator: load the weights, show the progress."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers.tqdm_logger import ProgressBar
from torch import nn

from i2net_bundle.networks.weights import load_network
from i2net_bundle.workflow.run_settings import require_settings


class LoadWeights:
    """Fill a network when an evaluator starts; every parameter must be in the file.

    Args:
        network: the network to fill.
        path: a file that training wrote, ``model.pt`` or a checkpoint.
        settings: settings to compare with those of the training, see `require_settings`.
    """

    def __init__(self, network: nn.Module, path: str | Path, settings: Mapping[str, Any] | None = None) -> None:
        self.network, self.path, self.settings = network, path, dict(settings or {})

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._load)

    def _load(self) -> None:
        require_settings(self.path, self.settings)
        load_network(self.network, self.path)


class CaseProgressBar:
    """A progress bar over the cases.

    Args:
        desc: what is being done.
    """

    def __init__(self, desc: str = "cases") -> None:
        self.desc = desc

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        ProgressBar(persist=False, disable=None, desc=self.desc).attach(engine)
