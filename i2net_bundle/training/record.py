"""Handlers that show and keep what happens in training: progress bar, log line, CSV row, TensorBoard."""

from __future__ import annotations

import csv
import logging
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from ignite.handlers.tqdm_logger import ProgressBar
from monai.utils import CommonKeys
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from i2net_bundle.io.writing import write_rows
from i2net_bundle.training.trainer import TERMS


class LossProgressBar:
    """A progress bar over each epoch's iterations, with the loss in it."""

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer; only the first process shows it."""
        if idist.get_rank() > 0:
            return
        bar = ProgressBar(persist=False, disable=None, desc="training")
        bar.attach(engine, output_transform=lambda output: {"loss": output[CommonKeys.LOSS]})


class TrainingRecord:
    """Record the mean of every term over each epoch.

    One log line; one row of ``training.csv``; TensorBoard scalars under ``tensorboard/``, together with every value
    that a validation of the same epoch left in the validator's metrics. A resumed run continues all three.

    Args:
        output_dir: the run's folder.
        optimizer: whose learning rate at the start of each epoch is recorded.
        validator: evaluator whose metrics are recorded; rows of epochs without validation leave them empty.
    """

    def __init__(self, output_dir: str | Path, optimizer: Optimizer, validator: Engine | None = None) -> None:
        self.output_dir = Path(output_dir)
        self.optimizer = optimizer
        self.validator = validator
        self.writer: SummaryWriter | None = None
        self.logger = logging.getLogger("i2net.training")

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after the validation handler; only the first process records."""
        if idist.get_rank() > 0:
            return
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish_epoch)
        engine.add_event_handler(Events.COMPLETED, self._finish)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _start(self, engine: Engine) -> None:
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self.path = self.output_dir / "training.csv"
        self.rows = [row for row in _read_rows(self.path) if int(row["epoch"]) <= engine.state.epoch]
        step = engine.state.iteration + 1
        self.writer = SummaryWriter(str(self.output_dir / "tensorboard"), purge_step=step)

    def _start_epoch(self, engine: Engine) -> None:
        self.sums: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = defaultdict(int)
        self.started = time.perf_counter()
        self.learning_rate = self.optimizer.param_groups[0]["lr"]

    def _add(self, engine: Engine) -> None:
        output: Any = engine.state.output
        for name, value in output[TERMS].items():
            self.sums[name] += value.item()
            self.counts[name] += 1
        assert self.writer is not None
        self.writer.add_scalar("iteration/loss", output[CommonKeys.LOSS], engine.state.iteration)

    def _finish_epoch(self, engine: Engine) -> None:
        row: dict[str, float] = {"epoch": engine.state.epoch, "seconds": time.perf_counter() - self.started}
        row["learning_rate"] = self.learning_rate
        row |= {name: total / self.counts[name] for name, total in self.sums.items()}
        if self.validator is not None and self.validator.state.epoch == engine.state.epoch:
            row |= {f"val_{name}": value for name, value in self.validator.state.metrics.items()}
        self.rows.append({name: f"{value:.6g}" for name, value in row.items()})
        write_rows(self.path, self.rows)
        assert self.writer is not None
        for name, value in row.items():
            if name != "epoch":
                self.writer.add_scalar(f"epoch/{name}", value, engine.state.iteration)
        self.writer.flush()
        shown = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        self.logger.info(f"epoch {engine.state.epoch}/{engine.state.max_epochs}: {shown}")

    def _finish(self, engine: Engine) -> None:
        if self.writer is not None:
            self.writer.close()

    def _fail(self, engine: Engine, error: BaseException) -> None:
        self._finish(engine)
        raise error


def _read_rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
