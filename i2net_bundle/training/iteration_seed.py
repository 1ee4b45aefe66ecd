"""Seed PyTorch's generator in every iteration, so a resumed run draws the same numbers as an uninterrupted one."""

from __future__ import annotations

import hashlib

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events


class IterationSeed:
    """Random layers of a network, such as dropout, depend only on seed, iteration and process.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self._seed)

    def _seed(self, engine: Engine) -> None:
        digest = hashlib.sha256(f"{self.seed} {engine.state.iteration} {idist.get_rank()}".encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:8], "little"))
