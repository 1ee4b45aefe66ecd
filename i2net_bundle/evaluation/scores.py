"""Scores of cases: the Ignite metric that takes them during an evaluation, and the handler that writes them."""

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
from i2net_bundle.evaluation.tables import mean_scores, summarize, table, write_tables
from i2net_bundle.io.formats import image_stem
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.transforms.preprocessing import LENGTH_UNIT


class SegmentationScores(Metric):
    """Ignite metric: every case under both protocols.

    The means over each case's classes, then over cases, become metrics of their names, such as ``strict_dice`` and
    ``transunet_hd95``; the `CaseScores` stay in ``engine.state.metric_details``.

    Args:
        num_classes: background included.
        options: how labels are read; instance ids of histology are scored as objects too.
        num_workers: processes that score while the network goes on, 0 for none.
        ignore_index: value of the truth that counts nowhere.
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
        """Score a case: predicted and true label map (1, ...), which know their spacing, and what is known of it."""
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
        """Mean of every score; waits for the processes."""
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
        """Leave the means in ``metrics`` and the cases in ``metric_details``."""
        state: Any = engine.state
        state.metrics.update(self.compute())
        state.metric_details[name] = self.cases


class WriteScores:
    """Handler that writes ``metrics.csv``, ``summary.json`` and a table on the terminal after an evaluation.

    Args:
        output_dir: folder of the two files.
        class_names: background first.
        weights: file that made the predictions; its SHA-256 is recorded.
        scores: name of the evaluator's `SegmentationScores`.
    """

    def __init__(
        self,
        output_dir: str | Path,
        class_names: Sequence[str],
        weights: str | Path | None = None,
        scores: str = "scores",
    ) -> None:
        self.output_dir, self.class_names, self.scores = Path(output_dir), list(class_names), scores
        self.weights = Path(weights) if weights is not None else None
        self.logger = logging.getLogger("i2net.scores")

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        state: Any = engine.state
        cases = state.metric_details[self.scores]
        summary = summarize(cases, self.class_names, self.weights)
        write_tables(self.output_dir, cases, self.class_names, summary)
        self.logger.info("\n" + table(summary))


def scoring_pool(num_workers: int) -> ProcessPoolExecutor:
    """Processes that score cases; started afresh, since a process with threads cannot be forked safely."""
    return ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn"))


def _plain(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What a batch's item says of its case, as plain values: collation makes tensors of numbers."""
    return {key: batch[key].item() if hasattr(batch[key], "item") else batch[key] for key in batch if key in _KNOWN}


_KNOWN = ("patient", "part")
