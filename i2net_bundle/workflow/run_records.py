"""Read and write ``settings.json``, the record beside a run's weights, with a strict schema.

Shared weights come with records from anyone. Every value is checked for its type and range. Text that a configuration
would evaluate ("$…", "@…", "%…", ``_target_``) is refused, so a record never becomes an expression.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from i2net_bundle.io.counted import counted
from i2net_bundle.io.json_files import write_json
from i2net_bundle.io.options import LABEL_VALUES
from i2net_bundle.io.printable import printable
from i2net_bundle.labels import LabelClass, classes_of, label_class
from i2net_bundle.tasks import TASKS
from i2net_bundle.workflow.describe import describe
from i2net_bundle.workflow.json_fields import LONGEST_TEXT, Fields, is_between, is_integer, is_list, is_name, is_text

SETTINGS_NAME = "settings.json"
SCHEMA = 2
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_V1_TASKS = {"synapse": "ct", "glas": "histology"}


@dataclass(frozen=True)
class NetworkRecord:
    """Configuration of a network.

    Attributes:
        target: import path of its class or function.
        arguments: plain data; None if the configuration used anything else.
    """

    target: str
    arguments: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class RunRecord:
    """Settings that weights were trained with; None where a record has no value.

    Attributes:
        path: file of the record.
        task: kind of task, see `i2net_bundle.tasks`.
        network: configuration of the network.
        classes: classes in the order of their ids, background first.
        channels: names of the image channels.
        label_values: meaning of mask values, see `HistologyOptions`.
        ignore_id: label that the loss ignores.
        image_size: rows and columns of the network's input in training.
        divisor: the network's input was padded to multiples of it.
        intensity: intensity transform, described as plain data.
        trained_on: name of the training data set.
        training_cases: number of training cases.
        data_licence: licence of the training data in words.
        training: further settings of the run.
    """

    path: Path | None = None
    task: str | None = None
    network: NetworkRecord | None = None
    classes: tuple[LabelClass, ...] | None = None
    channels: tuple[str, ...] | None = None
    label_values: str | None = None
    ignore_id: int | None = None
    image_size: tuple[int, int] | None = None
    divisor: int | None = None
    intensity: Any = None
    trained_on: str | None = None
    training_cases: int | None = None
    data_licence: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    def value(self, name: str, default: Any) -> Any:
        """Return a recorded value or ``default``; for expressions in configurations.

        Args:
            name: "image_size", "divisor" or a key of ``training``.
            default: value without a record.
        """
        found = getattr(self, name) if name in ("image_size", "divisor") else self.training.get(name)
        if found is None:
            return default
        return list(found) if isinstance(found, tuple) else found

    @property
    def training_data(self) -> str | None:
        """The training data in words, such as "CT phantoms, 8 cases"; None if they are not recorded."""
        known = [self.trained_on] if self.trained_on else []
        known += [] if self.training_cases is None else [counted(self.training_cases, "case")]
        return ", ".join(known) or None

    def as_json(self) -> dict[str, Any]:
        """The record as JSON data."""
        network = self.network and {"target": self.network.target, "arguments": self.network.arguments}
        content = {
            "schema": SCHEMA,
            "task": self.task,
            "network": network,
            "classes": [item.as_json() for item in _with_own_neighbours(self.classes or ())],
            "channels": list(self.channels or ()),
            "label_values": self.label_values,
            "ignore_id": self.ignore_id,
            "image_size": self.image_size and list(self.image_size),
            "divisor": self.divisor,
            "intensity": describe(self.intensity),
            "trained_on": self.trained_on,
            "training_cases": self.training_cases,
            "data_licence": self.data_licence,
            "training": describe(self.training),
        }
        plain: dict[str, Any] = json.loads(json.dumps(content))  # as it would be read back
        return plain


def write_record(record: RunRecord, folder: Path) -> None:
    """Write a record to ``settings.json`` in a folder."""
    write_json(folder / SETTINGS_NAME, record.as_json())


def run_record(weights: str | Path) -> RunRecord:
    """Read the record beside weights; an empty one if there is none.

    Args:
        weights: weights file.

    Raises:
        ValueError: the record is damaged or contains a forbidden value.
    """
    path = Path(weights).with_name(SETTINGS_NAME)
    return read_record(path) if path.is_file() else RunRecord()


def read_record(path: Path) -> RunRecord:
    """Read a record; see `run_record`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is not a JSON object")
        refuse_expressions(content)
        return _version_2(content, path) if "schema" in content else _version_1(content, path)
    except (ValueError, RecursionError) as cause:
        raise ValueError(
            f"{path} is not a valid record of a run ({type(cause).__name__}: {printable(str(cause))}). Copy it again "
            "from the run that wrote the weights, or remove it to use them unchecked."
        ) from cause


def check_record(record: RunRecord) -> None:
    """Check that a record can be read back after it is written.

    Raises:
        ValueError: a record cannot contain one of the names or values.
    """
    content = record.as_json()
    try:
        refuse_expressions(content)
        _version_2(content, Path())
    except ValueError as cause:
        raise ValueError(f"These settings cannot be recorded: {cause}. Rename or change it.") from cause


def refuse_expressions(value: Any, where: str = "it") -> None:
    """Refuse text that a configuration would evaluate, at any depth.

    Raises:
        ValueError: a text begins with "$", "@" or "%", or a key is ``_target_`` or another of MONAI's markers.
    """
    if isinstance(value, str) and value[:1] in ("$", "@", "%"):
        raise ValueError(f"{where} contains the expression {value[:60]!r}, which is not allowed in a record")
    if isinstance(value, Mapping):
        for name, item in value.items():
            if re.fullmatch(r"_\w+_", name) or name[:1] in ("$", "@", "%"):
                raise ValueError(f"{where} contains the key {name[:60]!r}, which is not allowed in a record")
            refuse_expressions(item, name)
    if isinstance(value, list):
        for item in value:
            refuse_expressions(item, where)


def recordable_text(text: str | None) -> str | None:
    r"""Shorten a text and remove what a record cannot contain: control characters, and the first sign of an expression.

    >>> recordable_text("$CT\n phantoms")
    'CT phantoms'
    """
    if text is None:
        return None
    printable = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return printable.lstrip("$@% ")[:LONGEST_TEXT].rstrip() or None


def _version_2(content: Mapping[str, Any], path: Path) -> RunRecord:
    fields = Fields(content, "")
    if fields.get("schema", is_integer, "a number", required=True) != SCHEMA:
        raise ValueError(f"its schema is {content['schema']}, and this version of i2net_bundle reads 1 and {SCHEMA}")
    record = RunRecord(
        path=path,
        task=fields.get("task", lambda value: isinstance(value, str) and value in TASKS, f"one of {', '.join(TASKS)}"),
        network=_network(fields.get("network", lambda value: isinstance(value, Mapping), "an object")),
        classes=_classes(fields.get("classes", is_list(lambda _: True, 0, 256), "a list of at most 256 classes")),
        channels=_tuple(fields.get("channels", is_list(is_name, 0, 64), "a list of names")),
        label_values=fields.get(
            "label_values",
            lambda value: isinstance(value, str) and value in LABEL_VALUES,
            "instances, binary or classes",
        ),
        ignore_id=fields.get("ignore_id", is_between(0, 255), "a number from 0 to 255"),
        image_size=_tuple(
            fields.get("image_size", is_list(is_between(1, 65536), 2, 2), "two whole numbers from 1 to 65536")
        ),
        divisor=fields.get("divisor", is_between(1, 4096), "a whole number from 1 to 4096"),
        intensity=fields.get("intensity", lambda _: True, "plain data"),
        trained_on=fields.get("trained_on", is_text, "a text"),
        training_cases=fields.get("training_cases", is_between(0, 10**9), "a number of cases"),
        data_licence=fields.get("data_licence", is_text, "a text"),
        training=fields.get("training", lambda value: isinstance(value, Mapping), "an object") or {},
    )
    fields.done()
    return record


def _version_1(content: Mapping[str, Any], path: Path) -> RunRecord:
    """Read a record of version 0.1: size, class names and intensities under "network", the rest under "training"."""
    outer = Fields(content, "")
    inner = Fields(outer.get("network", lambda value: isinstance(value, Mapping), "an object", True), "network")
    training = outer.get("training", lambda value: isinstance(value, Mapping), "an object") or {}
    names = inner.get("class_names", is_list(is_name, 2, 256), "a list of names")
    size = inner.get("image_size", is_list(is_between(1, 65536), 2, 2), "two whole numbers from 1 to 65536")
    task = training.get("task")
    learners = training.get("num_learners")
    if learners is not None and not is_between(1, 1024)(learners):
        raise ValueError(f"num_learners must be a whole number from 1, not {json.dumps(learners)[:80]}")
    return RunRecord(
        path=path,
        task=_V1_TASKS.get(task) if isinstance(task, str) else None,
        classes=classes_of(names) if names else None,
        image_size=_tuple(size),
        intensity=inner.content.get("intensity"),
        training=training,
    )


def _with_own_neighbours(classes: Sequence[LabelClass]) -> list[LabelClass]:
    """Remove references to other classes from the positions of each class."""
    names = [item.name for item in classes]
    return [replace(item, positions=tuple(pair for pair in item.positions if pair[1] in names)) for item in classes]


def _network(content: Any) -> NetworkRecord | None:
    if content is None:
        return None
    fields = Fields(content, "network")
    target = fields.get("target", lambda value: is_text(value) and bool(_TARGET.fullmatch(value)), "a path", True)
    arguments = fields.get(
        "arguments",
        lambda value: isinstance(value, Mapping) and all(name.isidentifier() for name in value),
        "an object of arguments by their names",
    )
    fields.done()
    return NetworkRecord(target, arguments)


def _classes(content: Any) -> tuple[LabelClass, ...] | None:
    classes = tuple(map(label_class, content or ()))
    for number, item in enumerate(classes):
        if not item.color:
            raise ValueError(f"class {number}, '{item.name}', has no color")
    names = [item.name for item in classes]
    if len(set(names)) < len(names):
        raise ValueError("two of its classes have the same name")
    return classes or None


def _tuple(value: Any) -> Any:
    return None if value is None else tuple(value)
