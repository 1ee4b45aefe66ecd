"""Load initial weights at the start of training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from i2net_bundle.networks.weights import load_encoder, load_matching

logger = logging.getLogger("i2net.training")

NONE = "none"
"""Means "no file". On MONAI's command line, ``None`` would keep the configuration's value."""


class InitialWeights:
    """Load weights when a run starts. A resumed run keeps its own.

    Args:
        network: the network to fill.
        network_weights: weights of a whole network, possibly with other classes or channels, see `load_matching`;
            ``"none"`` for random weights.
        encoder_weights: weights of ``network.encoder``: path of a state dict, ``"imagenet"`` for the published file,
            or ``"none"``. Ignored if ``network_weights`` is set.

    Raises:
        ValueError: ``encoder_weights`` is set and the network has no ``encoder``.
    """

    def __init__(
        self, network: nn.Module, network_weights: str | Path = NONE, encoder_weights: str | Path = NONE
    ) -> None:
        self.network, self.network_weights, self.encoder_weights = network, network_weights, encoder_weights
        if network_weights == NONE and encoder_weights != NONE and not hasattr(network, "encoder"):
            raise ValueError(
                f"encoder_weights is '{encoder_weights}', and {type(network).__name__} has no 'encoder' to fill. Set "
                "encoder_weights to none, or set init_weights to weights of the whole network."
            )

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after the handler that resumes it."""
        engine.add_event_handler(Events.STARTED, self._load)

    def _load(self, engine: Engine) -> None:
        if engine.state.iteration > 0:
            return
        if self.network_weights != NONE:
            if self.encoder_weights != NONE:
                logger.info(f"encoder_weights ({self.encoder_weights}) is ignored: init_weights is set")
            load_matching(self.network, self.network_weights)
        elif self.encoder_weights != NONE:
            network: Any = self.network
            load_encoder(network.encoder, self.encoder_weights)
