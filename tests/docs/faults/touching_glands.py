"""Faults of settings and weights that separate touching glands."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from i2net_bundle.io.masks import write_instances
from i2net_bundle.io.options import HistologyOptions
from i2net_bundle.prediction import gland_separator
from i2net_bundle.prediction.trained_network import refuse_different_separations
from i2net_bundle.transforms import histology_reading
from i2net_bundle.transforms.separation_targets import separates
from tests.docs.faults.table import Make, Printed, refused


def masks_without_instances(folder: Path) -> Printed:
    options = HistologyOptions(label_values="binary", num_classes=2, ignore_id=None)
    return refused(lambda: histology_reading(["image", "label"], options, instances=True))


def too_many_glands(folder: Path) -> Printed:
    return refused(lambda: write_instances(np.array([[0, 70_000]]), folder / "slide_instances.png"))


def other_separations(folder: Path) -> Printed:
    separations = {folder / "a.pt": "contour", folder / "b.pt": "marker"}
    return refused(lambda: refuse_different_separations(separations))


FAULTS: dict[str, Make] = {
    "unknown `separation`": lambda _: refused(lambda: separates("contours")),
    "`separation` learned from masks that do not number their glands": masks_without_instances,
    "`threshold` of the separator out of range": lambda _: refused(lambda: gland_separator("contour", threshold=1.0)),
    "negative area": lambda _: refused(lambda: gland_separator("contour", min_area=-1)),
    "more glands than 16 bits can number": too_many_glands,
    "weights of different separations averaged": other_separations,
}
