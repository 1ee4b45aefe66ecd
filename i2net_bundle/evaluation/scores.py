"""Scores during an evaluation: the Ignite metric that collects them, and the handler that writes them."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from ignite.metrics import Metric

from i2net_bundle.evaluation.case_scores import CaseScores, object_ids, score_case
from i2net_bundle.evaluation.summary import mean_scores, summarize, table, write_tables
from i2net_bundle.io.formats import image_stem
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.metrics.registry import METRICS
from i2net_bundle.transforms.preprocessing import LENGTH_UNIT


class SegmentationScores(Metric):
    """Ignite metric: scores of every case by every metric of the registry.

    The mean over each case's classes, then over the cases, is stored under the metric's name, such as ``strict_dice``;
    the `CaseScores` are kept in ``engine.state.metric_details``.

    Args:
        num_classes: background included.
        options: how labels are read; instance ids of histology are also scored as objects.
        num_workers: processes that score while the network predicts; 0 scores in this process.
        ignore_index: value of the truth whose voxels are not scored.
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

    def reset(self) -> None:
        """Forget all cases."""
        self.pending: list[CaseScores | Future[CaseScores]] = []

    def update(self, output: tuple[Any, Any, Mapping[str, Any]]) -> None:
        """Score a case.

        Args:
            output: predicted and true label map (1, ...) with their metadata, and the case's name, patient and part.
        """
        pred, label, case = output
        spacing = [float(size) for size in label.pixdim[: label.ndim - 1]]
        unit = label.meta.get(LENGTH_UNIT, "mm")
        maps = [np.asarray(labels.cpu())[0] for labels in (pred, label)]
        ids = object_ids(label.meta["filename_or_obj"], self.options)
        scoring = (*maps, self.num_classes, spacing, unit, dict(case), ids, self.ignore_index)
        self.pending.append(self._submit(*scoring))

    def _submit(self, *arguments: Any) -> CaseScores | Future[CaseScores]:
        if self.num_workers == 0:
            return score_case(*arguments)
        if self.pool is None:
            self.pool = scoring_pool(self.num_workers)
        return self.pool.submit(score_case, *arguments)

    def compute(self) -> dict[str, float]:
        """Mean of every metric; waits for the processes."""
        self.cases = [item.result() if isinstance(item, Future) else item for item in self.pending]
        if self.pool is not None:
            self.pool.shutdown()
            self.pool = None
        return mean_scores(self.cases)

    def iteration_completed(self, engine: Engine) -> None:
        """Score the cases of a batch."""
        state: Any = engine.state
        for batch, output in zip(state.batch, state.output, strict=True):
            name = batch.get("case") or image_stem(batch["image"].meta["filename_or_obj"])
            self.update((output["pred"], output["label"], {**_plain(batch), "case": name}))

    def completed(self, engine: Engine, name: str) -> None:
        """Store the means in ``metrics`` and the cases in ``metric_details``."""
        state: Any = engine.state
        state.metrics.update(self.compute())
        state.metric_details[name] = self.cases


class WriteScores:
    """Handler that writes ``metrics.csv``, ``summary.json`` and a table on the terminal when an evaluation ends.

    Args:
        output_dir: folder of both files.
        class_names: names of the classes, background first.
        weights: file of the weights that made the predictions; its SHA-256 is recorded.
        scores: name of the `SegmentationScores` among the evaluator's metrics.
        data_set: name of the data set that is evaluated, if it has one.
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
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        state: Any = engine.state
        cases = state.metric_details[self.scores]
        summary = summarize(cases, self.class_names, self.weights, self.data_set)
        write_tables(self.output_dir, cases, self.class_names, summary)
        self.logger.info("\n" + table(summary))


def scoring_pool(num_workers: int) -> ProcessPoolExecutor:
    """Processes that score cases by the metrics of this one; spawned, because forking with threads is unsafe."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(num_workers, context, initializer=_use_metrics, initargs=(dict(METRICS),))


def _use_metrics(metrics: Mapping[str, Any]) -> None:
    METRICS.clear()
    METRICS.update(metrics)


def _plain(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Patient and part of a batch's item, as plain values: collation turns numbers into tensors."""
    return {key: batch[key].item() if hasattr(batch[key], "item") else batch[key] for key in batch if key in _KNOWN}


_KNOWN = ("patient", "part")
