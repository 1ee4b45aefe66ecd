"""Handlers that show and keep what happens in training: progress bar, log line, CSV row, TensorBoard."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Mapping
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

RECORD_NAME = "training.csv"


class LossProgressBar:
    """A progress bar over each epoch's iterations, with the loss in it."""

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer; only the first process shows it."""
        if idist.get_rank() > 0:
            return
        bar = ProgressBar(persist=False, disable=None, desc="training")
        bar.attach(engine, output_transform=lambda output: {"loss": output[CommonKeys.LOSS]})


class TrainingRecord:
    """Record the mean of every loss term over each epoch.

    An epoch adds a log line, a row to ``training.csv`` and scalars under ``tensorboard/``, together with the metrics of
    a validation of that epoch. The rows are part of a run's checkpoints, so a resumed run writes the same table as an
    uninterrupted one, whatever happened to the file.

    Args:
        output_dir: the run's folder.
        optimizer: optimizer whose learning rate at the start of each epoch is recorded.
        validator: evaluator whose metrics are recorded; epochs without validation leave their columns empty.
    """

    def __init__(self, output_dir: str | Path, optimizer: Optimizer, validator: Engine | None = None) -> None:
        self.path = Path(output_dir) / RECORD_NAME
        self.optimizer = optimizer
        self.validator = validator
        self.writer: SummaryWriter | None = None
        self.logger = logging.getLogger("i2net.training")
        self.rows: list[dict[str, str]] = []
        self.learning_rate: float | None = None
        self._begin_epoch()

    def state_dict(self) -> dict[str, Any]:
        """Return the rows and the sums of an epoch in progress, for a checkpoint."""
        progress = {"sums": dict(self.sums), "counts": dict(self.counts), "learning_rate": self.learning_rate}
        elapsed = 0.0 if self.started is None else time.perf_counter() - self.started
        return {"rows": [dict(row) for row in self.rows], "seconds": self.seconds + elapsed, **progress}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.rows = [dict(row) for row in state["rows"]]
        self.sums.update(state["sums"])
        self.counts.update(state["counts"])
        self.learning_rate, self.seconds = state["learning_rate"], state["seconds"]

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after the validation handler; only the first process records."""
        if idist.get_rank() > 0:
            return
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish_epoch)
        engine.add_event_handler(Events.COMPLETED, self._finish)
        engine.add_event_handler(Events.TERMINATE, self._finish)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _start(self, engine: Engine) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.rows:
            write_rows(self.path, self.rows)
        else:
            self.path.unlink(missing_ok=True)
        self.writer = SummaryWriter(str(self.path.parent / "tensorboard"), purge_step=engine.state.iteration + 1)

    def _begin_epoch(self) -> None:
        self.sums: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = defaultdict(int)
        self.seconds = 0.0
        self.started: float | None = None
        self.learning_rate = None

    def _start_epoch(self, engine: Engine) -> None:
        self.started = time.perf_counter()
        if self.learning_rate is None:  # else the run was stopped within this epoch
            self.learning_rate = self.optimizer.param_groups[0]["lr"]

    def _add(self, engine: Engine) -> None:
        output: Any = engine.state.output
        for name, value in output[TERMS].items():
            self.sums[name] += value.item()
            self.counts[name] += 1
        assert self.writer is not None
        self.writer.add_scalar("iteration/loss", output[CommonKeys.LOSS], engine.state.iteration)

    def _finish_epoch(self, engine: Engine) -> None:
        assert self.started is not None and self.learning_rate is not None
        seconds = self.seconds + time.perf_counter() - self.started
        row: dict[str, float] = {"epoch": engine.state.epoch, "seconds": seconds, "learning_rate": self.learning_rate}
        row["steps"] = max(self.counts.values(), default=0)
        row |= {name: total / self.counts[name] for name, total in self.sums.items()}
        if self.validator is not None and self.validator.state.epoch == engine.state.epoch:
            row |= {f"val_{name}": value for name, value in self.validator.state.metrics.items()}
        self.rows.append({name: f"{value:.6g}" for name, value in row.items()})
        self._begin_epoch()
        write_rows(self.path, self.rows)
        assert self.writer is not None
        for name, value in row.items():
            if name not in ("epoch", "steps"):
                self.writer.add_scalar(f"epoch/{name}", value, engine.state.iteration)
        self.writer.flush()
        shown = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in ("epoch", "steps"))
        self.logger.info(f"epoch {engine.state.epoch}/{engine.state.max_epochs}: {shown}")

    def _finish(self, engine: Engine) -> None:
        if self.writer is not None:
            self.writer.close()

    def _fail(self, engine: Engine, error: BaseException) -> None:
        self._finish(engine)
        raise error


def record_handler(record: TrainingRecord) -> TrainingRecord:
    """Return a record that is shared with the checkpoints, as a handler.

    MONAI Label reads ``_target_`` of each handler, so a bare reference would end its training.
    """
    return record
