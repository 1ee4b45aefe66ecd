"""What a run leaves on disk to be continued and to be used: checkpoints and plain weights, written atomically."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver
from torch import nn

from i2net_bundle.workflow.run_folders import BEST_NAME, WEIGHTS_NAME, newest_checkpoint


class RunCheckpoint:
    """Save the whole state of a run, continue from it, and keep the network's plain weights beside it.

    Every ``interval`` epochs and at the end: ``checkpoints/epoch_0010.pt`` (the last two are kept) and ``model.pt``,
    the network's state dict. The best epoch by the validator's key metric is kept as ``model_best.pt``. Files are
    written beside their target and renamed, so that a killed process leaves the previous ones whole.

    Args:
        output_dir: the run's folder.
        network: the network in training.
        kept_network: whose weights ``model.pt`` holds; its average, or the network itself.
        state: further objects with ``state_dict`` to save and restore, such as optimiser and schedule.
        validator: evaluator whose key metric, larger is better, chooses ``model_best.pt``.
        interval: epochs between checkpoints.
        resume: continue from the newest checkpoint.
    """

    def __init__(
        self,
        output_dir: str | Path,
        network: nn.Module,
        kept_network: nn.Module,
        state: Mapping[str, Any],
        validator: Engine | None = None,
        interval: int = 1,
        resume: bool = False,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.network, self.kept_network = network, kept_network
        self.state = dict(state)
        self.validator = validator
        self.interval = interval
        self.resume = resume
        self.logger = logging.getLogger("i2net.checkpoints")
        self.best = _Best()

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after the validation handler."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save_best)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _start(self, engine: Engine) -> None:
        objects = {"network": self.network, "trainer": engine, "best": self.best, **self.state}
        self.checkpoint = Checkpoint(
            objects,
            DiskSaver(self.output_dir / "checkpoints", require_empty=False),
            n_saved=2,
            filename_pattern="epoch_{global_step:04d}.{ext}",
            global_step_transform=lambda *_: engine.state.epoch,
            include_self=True,  # a resumed run goes on counting the files that it keeps
        )
        self.weights = DiskSaver(self.output_dir, require_empty=False)
        if self.resume:
            self._load(engine, {**objects, "checkpointer": self.checkpoint})

    def _load(self, engine: Engine, objects: Mapping[str, Any]) -> None:
        path, state = newest_checkpoint(self.output_dir), cast(Any, engine.state)
        contents = torch.load(path, map_location=state.device, weights_only=True)
        configured = {"epochs": state.max_epochs, "iterations per epoch": state.epoch_length}
        saved = {
            "epochs": contents["trainer"]["max_epochs"],
            "iterations per epoch": contents["trainer"]["epoch_length"],
        }
        if configured != saved:
            raise ValueError(
                f"{path} comes from a run of {saved}, this one has {configured}. Resume with the same epochs, "
                "batch_size and data: the learning-rate schedule depends on them."
            )
        Checkpoint.load_objects(objects, contents)
        self.logger.info(f"continuing from {path}")

    def _save(self, engine: Engine) -> None:
        if engine.state.epoch % self.interval == 0 or engine.state.epoch == engine.state.max_epochs:
            self.checkpoint(engine)
            self.weights(self.kept_network.state_dict(), WEIGHTS_NAME)

    def _save_best(self, engine: Engine) -> None:
        if self.validator is None or self.validator.state.epoch != engine.state.epoch:
            return
        validation: Any = self.validator.state
        metric = validation.metrics[validation.key_metric_name]
        if metric > self.best.metric:
            self.best.metric, self.best.epoch = float(metric), engine.state.epoch
            self.weights(self.kept_network.state_dict(), BEST_NAME)


class _Best:
    """Best key metric so far and its epoch; part of the checkpoint, so that a resumed run cannot forget it."""

    def __init__(self) -> None:
        self.metric, self.epoch = float("-inf"), 0

    def state_dict(self) -> dict[str, float]:
        return {"metric": self.metric, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.metric, self.epoch = state["metric"], int(state["epoch"])
