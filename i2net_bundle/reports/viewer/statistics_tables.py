"""The statistics of a case as a table, with what is implausible marked."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from i2net_bundle.labels import LabelClass
from i2net_bundle.prediction.cohort_record import CaseRecord

UNKNOWN = "–"
IMPLAUSIBLE = "implausible"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: its text.
        marked: whether the value is implausible.
    """

    text: str
    marked: bool = False


@dataclass(frozen=True)
class StatisticsTable:
    """A table; the first cell of each row is its heading."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def organ_table(case: CaseRecord, classes: Sequence[LabelClass]) -> StatisticsTable:
    """Table of the organs of a volume: every class, whether predicted or not.

    Args:
        case: the case, with the result of `organ_statistics`.
        classes: background first.
    """
    names = [item.name for item in classes[1:]]
    accused = {name for problem in case.implausible for name in named_classes(str(problem), names)}
    found = {name: values for name in names if isinstance(values := case.statistics.get(name), Mapping)}
    means = list(dict.fromkeys(key for values in found.values() for key in values if key.startswith("mean_")))
    rows = []
    for item in classes[1:]:
        values, wrong = found.get(item.name, {}), item.name in accused
        rows.append(
            (
                Cell(item.name),
                Cell(_number(values.get("volume_ml"), 1) if values else "not predicted", wrong),
                Cell(f"{item.volume_ml[0]:g} to {item.volume_ml[1]:g}" if item.volume_ml else UNKNOWN),
                *(Cell(_with_sd(values, key)) for key in means),
                Cell(_yes_or_no(values.get("touches_border"))),
                Cell(IMPLAUSIBLE if wrong else "", wrong),
            )
        )
    columns = [_channel_title(key) for key in means]
    header = ("class", "volume, mL", "usual, mL", *columns, "cut off by the volume's end", "remark")
    return StatisticsTable("Organs", header, tuple(rows))


def image_table(case: CaseRecord) -> StatisticsTable:
    """Table of a 2D image: its glands, or the share of each class.

    Args:
        case: the case, with the result of `gland_statistics` or `class_shares`.
    """
    values = case.statistics
    if "count" not in values:
        rows = [(Cell(str(name)), Cell(_share(share))) for name, share in values.items()]
        return StatisticsTable("Share of the image", ("class", "share"), tuple(rows))
    areas = [("median area, pixels", "area_px", 0), ("median area, µm²", "area_um2", 0)]
    rows = [
        (Cell("objects of at least 200 pixels"), Cell(_number(values.get("count"), 0))),
        *((Cell(title), Cell(_median(values[key], digits))) for title, key, digits in areas if key in values),
        (Cell("share of the image"), Cell(_share(values.get("share")))),
        (Cell("cut off by the image's border"), Cell(_number(values.get("touching_border"), 0))),
    ]
    if "um_per_px" in values:
        rows.append((Cell("micrometres per pixel"), Cell(_number(values["um_per_px"], 3))))
    return StatisticsTable("Objects", ("measure", "value"), tuple(rows))


def named_classes(problem: str, names: Iterable[str]) -> set[str]:
    """Classes that a message names; "left kidney" does not also name "kidney".

    >>> sorted(named_classes("left kidney 12 mm on the wrong side of liver", ["kidney", "left kidney", "liver"]))
    ['left kidney', 'liver']
    """
    longest_first = sorted(names, key=len, reverse=True)
    pattern = "|".join(map(re.escape, longest_first))
    return set(re.findall(rf"(?<!\w)(?:{pattern})(?!\w)", problem)) if pattern else set()


def _number(value: Any, digits: int) -> str:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return f"{value:,.{digits}f}" if known else UNKNOWN


def _share(value: Any) -> str:
    known = isinstance(value, int | float) and math.isfinite(value)
    return f"{value:.1%}" if known else UNKNOWN


def _median(values: Any, digits: int) -> str:
    numbers = [value for value in values if isinstance(value, int | float)] if isinstance(values, list) else []
    return _number(float(np.median(numbers)), digits) if numbers else UNKNOWN


def _with_sd(values: Mapping[str, Any], key: str) -> str:
    mean, sd = values.get(key), values.get(f"sd_{key.removeprefix('mean_')}")
    if not isinstance(mean, int | float):
        return UNKNOWN
    return f"{mean:.4g} ± {sd:.3g}" if isinstance(sd, int | float) else f"{mean:.4g}"


def _channel_title(key: str) -> str:
    channel = key.removeprefix("mean_")
    return "mean ± SD, HU" if channel == "hu" else f"mean ± SD of {channel}"


def _yes_or_no(value: Any) -> str:
    return {True: "yes", False: "no"}.get(value, UNKNOWN) if isinstance(value, bool) else UNKNOWN
