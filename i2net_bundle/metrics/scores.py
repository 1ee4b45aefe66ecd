"""Scores of cases: the Ignite metric that takes them during an evaluation, and the handler that writes them."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from ignite.metrics import Metric

from i2net_bundle.checks import CTOptions, HistologyOptions
from i2net_bundle.checks.histology import load_mask
from i2net_bundle.data.datalist import image_stem
from i2net_bundle.metrics.objects import ObjectScores, find_glands, score_objects
from i2net_bundle.metrics.overlap import confusion_matrix
from i2net_bundle.metrics.protocols import ClassScores, score_classes
from i2net_bundle.metrics.tables import mean_scores, summarize, table, write_tables
from i2net_bundle.transforms.preprocessing import LENGTH_UNIT


@dataclass(frozen=True)
class CaseScores:
    """Scores of one case.

    Attributes:
        case: its name.
        unit: of strict distances: "mm", "pixel", or "voxel" where the spacing is unknown.
        confusion: voxels of every true and predicted class (C, C).
        classes: of every class but the background.
        objects: of its glands, where the truth tells them apart.
        patient: whom it is of, where known.
        part: of the test set, where known.
    """

    case: str
    unit: str
    confusion: np.ndarray
    classes: list[ClassScores]
    objects: ObjectScores | None = None
    patient: str | None = None
    part: str | None = None


def score_case(
    y_pred: np.ndarray,
    y: np.ndarray,
    num_classes: int,
    spacing: Sequence[float],
    unit: str,
    case: Mapping[str, Any],
    label_ids: np.ndarray | None = None,
    ignore_index: int | None = None,
) -> CaseScores:
    """Score one case.

    Args:
        y_pred: predicted class indices (H, W) or (H, W, D).
        y: true class indices, the same shape.
        num_classes: background included.
        spacing: voxel size along each axis.
        unit: of the spacing.
        case: its name under "case", and "patient" and "part" where they are known.
        label_ids: ids of annotated objects (H, W), where there are any.
        ignore_index: value of the truth that counts nowhere.

    Raises:
        ValueError: the shapes differ, or a label is no class.
    """
    confusion = confusion_matrix(y_pred, y, num_classes, ignore_index)
    if ignore_index is not None:
        y_pred, y = (np.where(y == ignore_index, 0, labels) for labels in (y_pred, y))
    classes = score_classes(y_pred, y, confusion, spacing, unit)
    objects = None if label_ids is None else score_objects(find_glands(y_pred > 0), label_ids)
    known = {key: str(case[key]) for key in ("patient", "part") if case.get(key) is not None}
    return CaseScores(str(case["case"]), unit, confusion, classes, objects, **known)


def object_ids(label_path: str | Path, options: CTOptions | HistologyOptions | None) -> np.ndarray | None:
    """Ids of a histology image's annotated objects (H, W); None where labels tell no objects apart."""
    if isinstance(options, HistologyOptions) and options.label_values == "instances":
        return load_mask(label_path, options)[0]
    return None


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
        options: CTOptions | HistologyOptions | None = None,
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
