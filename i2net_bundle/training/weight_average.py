"""A running average of the weights, which often generalises better than the last weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage:
    """Exponential moving average of a network's weights and batch-norm statistics, one update per iteration.

    Args:
        network: the network in training.
        decay: fraction of the average kept per iteration, in [0, 1); 0 turns averaging off.

    Attributes:
        network: the network to validate and to save: the averaged one, or with ``decay`` 0 the one in training.

    Raises:
        ValueError: ``decay`` is outside [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float = 0.0) -> None:
        if not 0 <= decay < 1:
            raise ValueError(
                f"weight_average must lie in [0, 1), got {decay}: 0.99 averages over about 100 iterations."
            )
        self.trained, self.decay = network, decay
        average = get_ema_multi_avg_fn(decay)
        self.average = AveragedModel(network, multi_avg_fn=average, use_buffers=True) if decay else None
        self.network: nn.Module = self.average.module if self.average is not None else network

    def update(self) -> None:
        """Update the average after an iteration. The first call copies the weights, pretrained encoder included."""
        if self.average is not None:
            self.average.update_parameters(self.trained)

    def state_dict(self) -> dict[str, Any]:
        """Return the decay and the average, if any, for a checkpoint."""
        return {"decay": self.decay, "average": self.average.state_dict() if self.average is not None else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the average from a checkpoint.

        Raises:
            ValueError: the checkpoint has another decay.
        """
        if state["decay"] != self.decay:
            raise ValueError(
                f"The checkpoint has weight_average {state['decay']:g}, this run has {self.decay:g}. "
                "Resume with the same value."
            )
        if self.average is not None:
            self.average.load_state_dict(state["average"])


class UpdateAverage:
    """Handler that updates the average after every iteration.

    Args:
        average: the average to update.
    """

    def __init__(self, average: WeightAverage) -> None:
        self.average = average

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.average.update)
