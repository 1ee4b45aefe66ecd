"""Published figures, to print beside those of a study."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import yaml

from i2net_bundle.workflow.config_files import config_files

FILE = "studies/published.yaml"


@dataclass(frozen=True)
class PublishedRow:
    """Figures of one row of a published table; None where it has none.

    Attributes:
        title: name of the method.
        parameters: in millions.
        gmac: multiply-accumulates, in billions.
        dsc: mean Dice in %.
        hd95: 95th percentile of surface distances, in the unit that is printed.
        class_dsc: Dice in % of every class of the table.
        note: what is open about the figures or about the network that stands for them here.
    """

    title: str
    parameters: float | None = None
    gmac: float | None = None
    dsc: float | None = None
    hd95: float | None = None
    class_dsc: tuple[float, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class PublishedTable:
    """A published table.

    Attributes:
        title: its number and data set.
        data: what it was measured on.
        classes: names of the classes of ``class_dsc``.
        rows: its rows, by the names that studies give their arms.
    """

    title: str
    data: str
    classes: tuple[str, ...] = ()
    rows: Mapping[str, PublishedRow] = field(default_factory=dict)


def published_table(name: str) -> PublishedTable:
    """Read a table of ``configs/studies/published.yaml``.

    Args:
        name: its key in the file.

    Raises:
        ValueError: there is no such table.
    """
    path = config_files(FILE)[0]
    with open(path, encoding="utf-8") as file:
        tables: dict[str, Any] = yaml.safe_load(file)["tables"]
    if name not in tables:
        near = difflib.get_close_matches(name, tables, n=1, cutoff=0.4)
        hint = f" Did you mean '{near[0]}'?" if near else f" It has {', '.join(tables)}."
        raise ValueError(f"{path} has no table '{name}'.{hint}")
    content = tables[name]
    known = {item.name for item in fields(PublishedRow)}
    rows = {
        key: PublishedRow(**{n: _value(v) for n, v in row.items() if n in known})
        for key, row in content["rows"].items()
    }
    return PublishedTable(content["title"], content["data"], tuple(content.get("classes", ())), rows)


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
