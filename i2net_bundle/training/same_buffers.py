"""Give all processes the buffers of the first one, so that they validate one network."""

from __future__ import annotations

import ignite.distributed as idist
from ignite.engine import Engine, Events
from torch import distributed, nn


class SameBuffers:
    """Handler that copies a network's buffers from the first process to the others when an engine starts.

    Each process updates the running statistics of batch normalisation from its own batches. The first one's are saved,
    so all must validate with these.

    Args:
        network: network with equal parameters in all processes.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator that runs in all processes."""
        engine.add_event_handler(Events.STARTED, self._copy)

    def _copy(self) -> None:
        if idist.get_world_size() > 1:
            for buffer in self.network.buffers():
                distributed.broadcast(buffer, src=0)
