"""Checkpoints of a run, to resume it from, and its plain weights. A killed process can always be resumed.

A new checkpoint is on the disk before an old one is deleted. All files carry a digest, see
`i2net_bundle.networks.tensor_files`; a damaged checkpoint is skipped in favour of the one before it.
"""

from __future__ import annotations

import csv
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from i2net_bundle.networks.tensor_files import TensorFileError, load_tensors, save_tensors
from i2net_bundle.training.record import RECORD_NAME
from i2net_bundle.workflow.processes import restarts_allowed
from i2net_bundle.workflow.resume_settings import require_equal_settings
from i2net_bundle.workflow.run_folders import BEST_NAME, WEIGHTS_NAME, checkpoint_path, checkpoints

KEPT = 2
"""Checkpoints of complete epochs in a run's folder: the newest, and one in case it is damaged."""

logger = logging.getLogger("i2net.checkpoints")


class RunCheckpoint:
    """Save the state of a run, resume it, and keep the network's plain weights.

    Files, every ``interval`` epochs and at the end: ``checkpoints/epoch_0010.pt`` (the last two are kept) and
    ``model.pt``, the network's state dict. ``model_best.pt`` is the best epoch by the validator's key metric. A run
    stopped within an epoch leaves ``checkpoints/epoch_0011_stopped.pt``.

    Args:
        output_dir: the run's folder.
        network: the network in training.
        kept_network: network whose weights ``model.pt`` contains: the running average, or ``network`` itself.
        state: further objects with ``state_dict`` to save and restore, such as the optimizer; None stands for a part
            that the run does not have.
        validator: evaluator whose key metric, larger is better, selects ``model_best.pt``.
        interval: epochs between checkpoints.
        resume: continue from the newest checkpoint that can be read. If there is none, start, provided that
            ``torchrun --max-restarts`` may resume this run by the same command line.
        extend: continue for more epochs than the run was started with. The learning-rate schedule continues as that of
            the longer run.
        settings: what decides the result, see `result_settings`; a run is resumed with equal settings only.

    Raises:
        ValueError: ``extend`` without ``resume``.
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
        extend: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        if extend and not resume:
            raise ValueError("--extend true continues a run: add --resume true.")
        self.output_dir = Path(output_dir)
        self.kept_network = kept_network
        self.best = _Best()
        parts = {name: part for name, part in state.items() if part is not None}
        self.objects = {"network": network, "best": self.best, **parts}
        self.validator = validator
        self.interval = interval
        self.resume, self.extend = resume, extend
        self.settings = dict(settings or {})

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer. Saving comes after all other handlers of an epoch, wherever this one is attached."""
        engine.add_event_handler(Events.STARTED, self._start)

    def _start(self, engine: Engine) -> None:
        self.objects["trainer"] = engine
        if self.resume and not checkpoints(self.output_dir) and restarts_allowed():
            logger.warning(f"{self.output_dir} contains no checkpoint yet: starting with the first epoch")
            _require_agreement(self.output_dir, engine)
        elif self.resume:
            self._load(engine)
        if idist.get_rank() == 0 and not engine.has_event_handler(self._finish_epoch):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish_epoch)
            engine.add_event_handler(Events.TERMINATE, self._stop)

    def _load(self, engine: Engine) -> None:
        path, contents = _newest_readable(self.output_dir, self.interval)
        missing = ", ".join(sorted({*self.objects, "settings"} - contents.keys()))
        if missing:
            require_equal_settings(contents.get("settings", self.settings), self.settings, str(path))  # or they add it
            raise ValueError(
                f"{path} lacks {missing}: another version of i2net_bundle wrote it. Train in another --output_dir; "
                f"--init_weights {self.output_dir / WEIGHTS_NAME} starts from this run's weights."
            )
        _require_length(path, contents["trainer"], engine, self.extend)
        require_equal_settings(contents["settings"], self.settings, str(path))
        if contents["trainer"]["max_epochs"] == engine.state.max_epochs:
            Checkpoint.load_objects(self.objects, contents)
        else:
            self._load_longer(engine, contents)
        _require_agreement(path, engine)
        done = _done_in_epoch(engine)
        if done:
            _skip_batches(engine, done)
        elif idist.get_rank() == 0:
            self._save_weights(WEIGHTS_NAME)  # the process may have been killed between the two files
            self._remove_older(path)
        within = f" and {done} of {engine.state.epoch_length} iterations" if done else ""
        logger.info(f"resuming from {path}: {engine.state.epoch} of {engine.state.max_epochs} epochs{within} are done")

    def _load_longer(self, engine: Engine, contents: dict[str, Any]) -> None:
        """Restore the state of a shorter run; the schedule is stepped to where it would be in a run of this length."""
        contents["trainer"]["max_epochs"] = engine.state.max_epochs
        schedule = self.objects.get("lr_scheduler")
        rates = _rates_after(schedule, contents["lr_scheduler"]["last_epoch"]) if schedule is not None else []
        kept = {name: item for name, item in self.objects.items() if name != "lr_scheduler"}
        Checkpoint.load_objects(kept, contents)
        for group, rate in zip(schedule.optimizer.param_groups if schedule is not None else [], rates, strict=True):
            group["lr"] = rate

    def _finish_epoch(self, engine: Engine) -> None:
        self._save_best(engine)
        if engine.state.epoch % self.interval == 0 or engine.state.epoch == engine.state.max_epochs:
            self._save(engine)

    def _stop(self, engine: Engine) -> None:
        """Save the state of a run that is stopped before its end."""
        if _done_in_epoch(engine) == 0:
            if engine.state.iteration and not checkpoint_path(self.output_dir, engine.state.epoch).is_file():
                self._save(engine)
        elif _can_skip_batches(engine):
            path = checkpoint_path(self.output_dir, engine.state.epoch, stopped=True)
            self._save_checkpoint(path)
            logger.info(f"saved {path}")
        else:
            logger.warning("the training data cannot be continued within an epoch: resuming will repeat this epoch")

    def _save(self, engine: Engine) -> None:
        path = checkpoint_path(self.output_dir, engine.state.epoch)
        self._save_checkpoint(path)
        self._save_weights(WEIGHTS_NAME)
        self._remove_older(path)

    def _remove_older(self, path: Path) -> None:
        """Remove all checkpoints before one, except the last of a complete epoch."""
        found = checkpoints(self.output_dir)
        older = found[found.index(path) + 1 :]
        complete = [item for item in older if item == checkpoint_path(self.output_dir, _epoch(item))]
        for item in older:
            if item not in complete[: KEPT - 1]:
                item.unlink(missing_ok=True)

    def _save_checkpoint(self, path: Path) -> None:
        states = {name: item.state_dict() for name, item in self.objects.items()}
        save_tensors({**states, "settings": self.settings}, path)

    def _save_weights(self, name: str) -> None:
        save_tensors(self.kept_network.state_dict(), self.output_dir / name)

    def _save_best(self, engine: Engine) -> None:
        if self.validator is None or self.validator.state.epoch != engine.state.epoch:
            return
        validation: Any = self.validator.state
        metric = validation.metrics[validation.key_metric_name]
        if metric > self.best.metric:
            self.best.metric, self.best.epoch = float(metric), engine.state.epoch
            self._save_weights(BEST_NAME)


class _Best:
    """The best key metric and its epoch; part of the checkpoint."""

    def __init__(self) -> None:
        self.metric, self.epoch = float("-inf"), 0

    def state_dict(self) -> dict[str, float]:
        return {"metric": self.metric, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.metric, self.epoch = state["metric"], int(state["epoch"])


def _newest_readable(output_dir: Path, interval: int) -> tuple[Path, dict[str, Any]]:
    """The newest checkpoint that can be read, and its contents; warns of newer ones that are damaged or missing."""
    found, problems = checkpoints(output_dir), []
    for path in found:
        try:
            contents = load_tensors(path)
            if not isinstance(contents, dict) or not isinstance(contents.get("trainer"), dict):
                raise TensorFileError("no checkpoint of a training run")
        except (OSError, TensorFileError) as problem:
            problems.append(f"{path} cannot be used: it is {problem}")
            logger.warning(f"{problems[-1]}. Falling back to the checkpoint before it")
            continue
        _warn_of_missing(output_dir, path, interval)
        return path, contents
    raise ValueError(
        f"{output_dir} cannot be resumed: {'; '.join(problems) or 'it has no checkpoint'}. Train in another "
        f"--output_dir. If {output_dir / WEIGHTS_NAME} exists, --init_weights with that file starts from its weights."
    )


def _warn_of_missing(output_dir: Path, newest: Path, interval: int) -> None:
    try:
        with (output_dir / RECORD_NAME).open(newline="", encoding="utf-8") as file:
            recorded = max((int(row["epoch"]) for row in csv.DictReader(file)), default=0)
    except (OSError, ValueError, KeyError, TypeError, csv.Error):  # no record, or a damaged one: it is written again
        return
    expected = checkpoint_path(output_dir, recorded - recorded % interval)
    if _epoch(newest) < _epoch(expected) and not expected.is_file():
        logger.warning(
            f"{output_dir / RECORD_NAME} has epoch {recorded}, but {expected} is missing: it was deleted, or the "
            f"process was killed before writing it. Resuming from {newest}"
        )


def _require_agreement(path: Path, engine: Engine) -> None:
    """Check that all processes resume from the same iteration.

    Raises:
        ValueError: they do not, because they see different checkpoints.
    """
    if idist.get_world_size() == 1:
        return
    iterations: Any = idist.all_gather(engine.state.iteration)
    if len(set(iterations)) > 1:
        shown = ", ".join(map(str, iterations))
        raise ValueError(
            f"{path} is not what all processes resume from: they found iterations {shown}. All nodes must see the same "
            "--output_dir: put it on a file system that they share."
        )


def _require_length(path: Path, saved: Mapping[str, Any], engine: Engine, extend: bool) -> None:
    """Compare the length of a run with that of a checkpoint.

    Raises:
        ValueError: it differs, and not only by epochs to extend it by.
    """
    epochs, per_epoch = engine.state.max_epochs or 0, engine.state.epoch_length
    if saved["epoch_length"] != per_epoch:
        raise ValueError(
            f"{path} comes from a run of {saved['epoch_length']} iterations per epoch, this one has {per_epoch}. "
            "Resume with the same batch_size, data and number of processes."
        )
    if epochs < saved["max_epochs"] or (epochs > saved["max_epochs"] and not extend):
        raise ValueError(
            f"{path} comes from a run of {saved['max_epochs']} epochs, this one has {epochs}. The learning-rate "
            "schedule depends on them: resume with the same epochs, or continue for more with --resume true --extend "
            "true."
        )


def _rates_after(schedule: Any, steps: int) -> list[float]:
    """Learning rates of a new schedule after some steps.

    Raises:
        ValueError: the schedule depends on more than the number of steps.
    """
    if isinstance(schedule, ReduceLROnPlateau):
        raise ValueError("A run with ReduceLROnPlateau cannot be extended. Start a new one with --init_weights.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch expects a step of the optimizer before each
        for _ in range(steps):
            schedule.step()
    rates: list[float] = schedule.get_last_lr()
    return rates


def _epoch(path: Path) -> int:
    return int(path.stem.split("_")[1])


def _done_in_epoch(engine: Engine) -> int:
    """Completed iterations of an epoch that is not complete."""
    return engine.state.iteration % (engine.state.epoch_length or 1)


def _can_skip_batches(engine: Engine) -> bool:
    return _skip_of(engine) is not None


def _skip_batches(engine: Engine, count: int) -> None:
    """Continue the next epoch after its first batches."""
    skip = _skip_of(engine)
    if skip is None:
        raise ValueError(
            "The run was stopped within an epoch, and the sampler of its data loader has no 'skip' to continue there. "
            "Use i2net_bundle.training.EpochSampler, or remove the checkpoint that ends with _stopped.pt."
        )
    skip(count)


def _skip_of(engine: Engine) -> Callable[[int], None] | None:
    """How to leave out the first batches of an epoch; None if the sampler cannot."""
    loader: Any = getattr(engine, "data_loader", None)
    batches, items = getattr(loader, "batch_sampler", None), getattr(loader, "sampler", None)
    size: int | None = getattr(loader, "batch_size", None)
    if hasattr(batches, "skip"):
        return batches.skip  # type: ignore[union-attr]
    if size is not None and hasattr(items, "skip"):
        return lambda count: items.skip(count * size)  # type: ignore[union-attr]
    return None
