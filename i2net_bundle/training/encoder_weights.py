"""Handler that starts training from pretrained encoder weights."""

from __future__ import annotations

from pathlib import Path

from ignite.engine import Engine, Events

from i2net_bundle.networks import I2Net
from i2net_bundle.networks.weights import load_encoder


class LoadEncoderWeights:
    """Load pretrained encoder weights when training starts anew, and only then.

    Args:
        network: the network whose ``encoder`` to fill.
        source: path of a state dict, ``"imagenet"`` for the published file, or ``"none"`` (on MONAI's command line a
            ``None`` would leave the configuration's value in place).
    """

    def __init__(self, network: I2Net, source: str | Path) -> None:
        self.network, self.source = network, source

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after the handler that resumes it."""
        engine.add_event_handler(Events.STARTED, self._load)

    def _load(self, engine: Engine) -> None:
        if self.source != "none" and engine.state.iteration == 0:
            load_encoder(self.network.encoder, self.source)
