"""Scores of a data set under every convention of the Hausdorff distance, at several sizes of the images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from i2net_bundle.evaluation.case_scores import finite_mean
from i2net_bundle.metrics.conventions import CONVENTIONS, Convention
from i2net_bundle.metrics.mask_pair import ABSENT, FOUND, mask_pairs
from i2net_bundle.metrics.registry import METRICS
from i2net_bundle.transforms.resizing import resize_labels

NATIVE = "native"
SIZES: dict[str, int | None] = {NATIVE: None, "512²": 512, "128²": 128}
"""Sizes at which images are scored: that of the files, and squares to which public code resizes them."""
BATCH_SIZE = 16
"""Images of a batch, as in the paper's settings for GlaS."""
PIXELS, LENGTHS = "pixels", "lengths"
"""Distances in pixels or voxels, and in the unit of the spacing."""

Key = tuple[str, str, str]
"""Convention, size, and `PIXELS` or `LENGTHS`."""


@dataclass(frozen=True)
class CaseMeasures:
    """What the conventions need of one case.

    Attributes:
        rows: measured values of each convention of images and slices, a row per image or slice.
        resized: predicted and true class indices of an image at each square size, for batches; empty for volumes.
        dice: mean Dice over the classes under the strict protocol; NaN if no class is in either mask.
        statuses: status of every class, see `MaskPair`.
        unit: unit of the lengths; None if the spacing is unknown.
    """

    rows: dict[Key, list[list[Any]]]
    resized: dict[str, tuple[np.ndarray, np.ndarray]]
    dice: float
    statuses: list[str]
    unit: str | None


@dataclass(frozen=True)
class ConventionScores:
    """Distances of a data set under every convention.

    Attributes:
        values: distance by convention, size and unit; NaN where every mask is left out.
        counts: images, slices or batches that each distance is made of.
        cases: number of cases.
        dice: mean Dice over the cases under the strict protocol.
        one_empty: classes that are in one of the two masks of a case only.
        both_empty: classes that are in neither mask of a case.
        volumes: whether the cases are volumes.
        unit: unit of the lengths; None if the spacing of a case is unknown.
    """

    values: dict[Key, float]
    counts: dict[Key, int]
    cases: int
    dice: float
    one_empty: int
    both_empty: int
    volumes: bool
    unit: str | None


def measure_case(
    y_pred: np.ndarray, y: np.ndarray, num_classes: int, spacing: Sequence[float] | None, unit: str | None
) -> CaseMeasures:
    """Measure one case under every convention of images and of slices; volumes only at their own size.

    Args:
        y_pred: predicted class indices (H, W) or (H, W, D).
        y: true class indices, same shape.
        num_classes: C, background included.
        spacing: pixel or voxel size along each axis; None if it is unknown.
        unit: unit of the spacing.
    """
    rows: dict[Key, list[list[Any]]] = {}
    resized: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for size, side in SIZES.items() if y.ndim == 2 else [(NATIVE, None)]:
        maps = (y_pred, y) if side is None else (_square(y_pred, side), _square(y, side))
        if side is not None:
            resized[size] = maps
        for kind, steps in _spacings(y.shape, maps[1].shape, spacing):
            for scope, parts in (("image", [maps]), ("slice", _slices(*maps))):
                pairs = [list(mask_pairs(pred, label, num_classes, steps[: pred.ndim])) for pred, label in parts]
                for convention in _conventions_of(scope) if pairs else ():
                    rows[convention.name, size, kind] = [[convention.value(pair) for pair in row] for row in pairs]
    native = list(mask_pairs(y_pred, y, num_classes, [1.0] * y.ndim))
    dice = finite_mean([METRICS["strict_dice"].score(pair) for pair in native])
    known = None if spacing is None else unit
    return CaseMeasures(rows, resized, dice, [pair.status for pair in native], known)


def score_conventions(
    cases: Sequence[CaseMeasures],
    num_classes: int,
    progress: Callable[[Sequence[Any]], Iterator[Any]] = iter,
) -> ConventionScores:
    """Combine the measures of all cases, in batches of `BATCH_SIZE` in their order where a convention stacks images.

    Args:
        cases: at least one; all images, or all volumes.
        num_classes: C, background included.
        progress: wraps the list of batches, which take most of the time.
    """
    unit = cases[0].unit if len({case.unit for case in cases}) == 1 else None
    rows: dict[Key, list[list[Any]]] = defaultdict(list)
    for case in cases:
        for key, measured in case.rows.items():
            if key[2] == PIXELS or unit is not None:
                rows[key] += measured
    batches = [
        (size, [case.resized[size] for case in cases[start : start + BATCH_SIZE]])
        for size in cases[0].resized
        for start in range(0, len(cases), BATCH_SIZE)
    ]
    for size, maps in progress(batches):
        stacks = [np.stack(labels) for labels in zip(*maps, strict=True)]
        pairs = list(mask_pairs(stacks[0], stacks[1], num_classes, [1.0] * 3))
        for convention in _conventions_of("batch"):
            rows[convention.name, size, PIXELS].append([convention.value(pair) for pair in pairs])
    statuses = [status for case in cases for status in case.statuses]
    absent = statuses.count(ABSENT)
    return ConventionScores(
        values={key: CONVENTIONS[key[0]].combine(measured) for key, measured in rows.items()},
        counts={key: sum(any(value is not None for value in row) for row in found) for key, found in rows.items()},
        cases=len(cases),
        dice=finite_mean([case.dice for case in cases]),
        one_empty=len(statuses) - statuses.count(FOUND) - absent,
        both_empty=absent,
        volumes=not cases[0].resized,
        unit=unit,
    )


def _conventions_of(scope: str) -> list[Convention]:
    return [convention for convention in CONVENTIONS.values() if convention.scope == scope]


def _square(labels: np.ndarray, side: int) -> np.ndarray:
    """Class indices (H, W) resized to a square by nearest neighbours."""
    return resize_labels(torch.from_numpy(np.ascontiguousarray(labels))[None, None], [side, side])[0, 0].numpy()


def _slices(y_pred: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Slices of two volumes (H, W, D); none of images."""
    return [(y_pred[..., index], y[..., index]) for index in range(y.shape[2])] if y.ndim == 3 else []


def _spacings(
    shape: Sequence[int], resized: Sequence[int], spacing: Sequence[float] | None
) -> Iterator[tuple[str, list[float]]]:
    """Sizes of a pixel of the resized grid: 1, and the lengths if they are known."""
    yield PIXELS, [1.0] * len(shape)
    if spacing is not None:
        yield LENGTHS, [step * old / new for step, old, new in zip(spacing, shape, resized, strict=True)]
