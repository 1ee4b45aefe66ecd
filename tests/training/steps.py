"""The learning rate of the trainer under test, and the loss terms of its iterations."""

from __future__ import annotations

from collections.abc import Callable

from ignite.engine import Engine, Events

from i2net_bundle.training import SegmentationTrainer
from i2net_bundle.training.trainer import TERMS

LEARNING_RATE = 0.01


def on_iteration(trainer: SegmentationTrainer, handler: Callable[[Engine], None]) -> None:
    trainer.add_event_handler(Events.ITERATION_COMPLETED, handler)


def terms_of_run(trainer: SegmentationTrainer) -> list[dict[str, float]]:
    """Run and return every iteration's terms."""
    found: list[dict[str, float]] = []
    on_iteration(trainer, lambda engine: found.append({k: v.item() for k, v in engine.state.output[TERMS].items()}))
    trainer.run()
    return found
