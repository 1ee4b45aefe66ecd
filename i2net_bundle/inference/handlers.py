"""Handlers of an evaluator: which weights it uses, and how far it is."""

from __future__ import annotations

from pathlib import Path

from ignite.engine import Engine, Events
from ignite.handlers.tqdm_logger import ProgressBar
from torch import nn

from i2net_bundle.networks.weights import load_network


class LoadWeights:
    """Fill a network when an evaluator starts; every parameter must be in the file.

    Args:
        network: the network to fill.
        path: a file that training wrote, ``model.pt`` or a checkpoint.
    """

    def __init__(self, network: nn.Module, path: str | Path) -> None:
        self.network, self.path = network, path

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, lambda _: load_network(self.network, self.path))


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
