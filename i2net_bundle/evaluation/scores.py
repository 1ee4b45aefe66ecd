"""Collect scores during an evaluation with an Ignite metric, and write them with a handler."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from ignite.metrics import Metric

from i2net_bundle.evaluation.case_scores import CaseScores, object_ids, score_case
from i2net_bundle.evaluation.summary import (
    METRICS_NAME,
    PARTIAL_NAME,
    SUMMARY_NAME,
    mean_scores,
    summarize,
    table,
    write_metrics,
    write_tables,
)
from i2net_bundle.io.formats import image_stem
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.metrics.registry import METRICS
from i2net_bundle.prediction.gland_instances import INSTANCES
from i2net_bundle.transforms.preprocessing import LENGTH_UNIT


class SegmentationScores(Metric):
    """Ignite metric that scores every case with all metrics of the registry.

    The mean over the classes of each case, then over the cases, is stored under the metric's name, such as
    ``strict_dice``. ``engine.state.metric_details`` contains the `CaseScores`, also when the engine is terminated.

    Args:
        num_classes: including background.
        options: how labels are read; instance ids of histology are also scored as objects.
        num_workers: processes that score while the network predicts; 0 scores in this process.
        ignore_index: label value whose voxels are not scored.
    """

    def __init__(
        self,
        num_classes: int,
        options: VolumeOptions | HistologyOptions | None = None,
        num_workers: int = 0,
        ignore_index: int | None = None,
    ) -> None:
        self.num_classes, self.options, self.num_workers = num_classes, options, num_workers
        self.ignore_index = ignore_index
        self.pool: ProcessPoolExecutor | None = None
        super().__init__()

    def attach(self, engine: Engine, name: str, *args: Any, **kwargs: Any) -> None:
        """Attach to an evaluator."""
        super().attach(engine, name, *args, **kwargs)
        engine.add_event_handler(Events.TERMINATE, self.completed, name)

    def reset(self) -> None:
        """Remove all cases."""
        self.pending: list[CaseScores | Future[CaseScores]] = []
        self.names: list[str] = []

    def update(self, output: tuple[Any, Any, Mapping[str, Any], Any]) -> None:
        """Score a case.

        Args:
            output: predicted and true label map (1, ...) with their metadata; name, patient and part of the case; and
                the ids of predicted objects (1, H, W), None for the connected parts of the mask.
        """
        pred, label, case, instances = output
        spacing = [float(size) for size in label.pixdim[: label.ndim - 1]]
        unit = label.meta.get(LENGTH_UNIT, "mm")
        maps = [np.asarray(labels.cpu())[0] for labels in (pred, label)]
        ids = object_ids(label.meta["filename_or_obj"], self.options)
        pred_ids = None if instances is None else np.asarray(instances.cpu())[0]
        scoring = (*maps, self.num_classes, spacing, unit, dict(case), ids, self.ignore_index, pred_ids)
        self.pending.append(self._submit(*scoring))
        self.names.append(str(case["case"]))

    def _submit(self, *arguments: Any) -> CaseScores | Future[CaseScores]:
        if self.num_workers == 0:
            return score_case(*arguments)
        if self.pool is None:
            self.pool = scoring_pool(self.num_workers)
        return self.pool.submit(score_case, *arguments)

    def compute(self) -> dict[str, float]:
        """Wait for the processes, and return the mean of every metric."""
        try:
            self.cases = [item.result() if isinstance(item, Future) else item for item in self.pending]
        except BrokenProcessPool as cause:
            raise killed_worker(self._unfinished()) from cause
        if self.pool is not None:
            self.pool.shutdown()
            self.pool = None
        return mean_scores(self.cases)

    def _unfinished(self) -> list[str]:
        """Names of the cases that were being scored when a process was killed."""
        broken = [item.exception() is not None if isinstance(item, Future) else False for item in self.pending]
        return [name for name, failed in zip(self.names, broken, strict=True) if failed][: self.num_workers]

    def iteration_completed(self, engine: Engine) -> None:
        """Score the cases of a batch."""
        state: Any = engine.state
        for batch, output in zip(state.batch, state.output, strict=True):
            name = batch.get("case") or image_stem(batch["image"].meta["filename_or_obj"])
            known = {**_plain(batch), "case": name}
            self.update((output["pred"], output["label"], known, output.get(INSTANCES)))

    def completed(self, engine: Engine, name: str) -> None:
        """Store the means in ``metrics`` and the cases in ``metric_details``."""
        state: Any = engine.state
        state.metrics.update(self.compute())
        state.metric_details[name] = self.cases


class WriteScores:
    """Handler that writes ``metrics.csv`` and ``summary.json``, and logs a table, when an evaluation ends.

    An evaluation that is terminated early leaves the scores of the finished cases in ``metrics_partial.csv`` only.

    Args:
        output_dir: folder of the files.
        class_names: names of the classes, background first.
        weights: weights file of the predictions; its SHA-256 is recorded.
        scores: name of the `SegmentationScores` among the evaluator's metrics.
        data_set: name of the data set, if it has one.
    """

    def __init__(
        self,
        output_dir: str | Path,
        class_names: Sequence[str],
        weights: str | Path | None = None,
        scores: str = "scores",
        data_set: str | None = None,
    ) -> None:
        self.output_dir, self.class_names, self.scores = Path(output_dir), list(class_names), scores
        self.data_set = data_set
        self.weights = Path(weights) if weights is not None else None
        self.logger = logging.getLogger("i2net.scores")

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._remove_earlier)
        engine.add_event_handler(Events.COMPLETED, self._write)
        engine.add_event_handler(Events.TERMINATE, self._write_partial)

    def _remove_earlier(self) -> None:
        """Remove the tables of an evaluation that is being replaced: they do not describe the new masks."""
        for name in (METRICS_NAME, SUMMARY_NAME, PARTIAL_NAME):
            (self.output_dir / name).unlink(missing_ok=True)

    def _write(self, engine: Engine) -> None:
        state: Any = engine.state
        cases = state.metric_details[self.scores]
        summary = summarize(cases, self.class_names, self.weights, self.data_set)
        write_tables(self.output_dir, cases, self.class_names, summary)
        self.logger.info("\n" + table(summary))

    def _write_partial(self, engine: Engine) -> None:
        state: Any = engine.state
        write_metrics(self.output_dir / PARTIAL_NAME, state.metric_details[self.scores], self.class_names)


def scoring_pool(num_workers: int) -> ProcessPoolExecutor:
    """Start processes that score cases with the metrics of this one; spawned, because forking threads is unsafe."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(num_workers, context, initializer=_use_metrics, initargs=(dict(METRICS),))


def killed_worker(cases: Sequence[str]) -> ChildProcessError:
    """Return the error for a scoring process that was killed.

    Args:
        cases: names of the cases that were being scored.
    """
    return ChildProcessError(
        f"A scoring process was killed, perhaps because memory was short, while it scored {' or '.join(cases)}. Use "
        "fewer processes (--workers of i2net, --scoring_workers of monai.bundle)."
    )


def _use_metrics(metrics: Mapping[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one stops the others
    METRICS.clear()
    METRICS.update(metrics)


def _plain(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Patient and part of an item as plain values; collation made tensors of numbers."""
    return {key: batch[key].item() if hasattr(batch[key], "item") else batch[key] for key in batch if key in _KNOWN}


_KNOWN = ("patient", "part")
