"""Compare settings with those of a run, before resuming it or using its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from i2net_bundle.data import DataDescription
from i2net_bundle.workflow.describe import describe
from i2net_bundle.workflow.run_records import (
    SETTINGS_NAME,
    NetworkRecord,
    RunRecord,
    check_record,
    read_record,
    recordable_text,
    run_record,
    write_record,
)


class SettingsRecord:
    """Write a run's settings to ``settings.json``, and refuse to resume the run with other settings.

    Args:
        output_dir: the run's folder.
        task: kind of task.
        description: classes, channels and label values of the data.
        network: configuration of the network, see `component_settings`.
        image_size: rows and columns of the network's input.
        divisor: the network's input is padded to multiples of it.
        intensity: intensity transform.
        training: everything else that determines the result, see `training_settings`.
        resume: continue the run in this folder.
        extend: continue it for more epochs than it was started with.
        num_cases: number of training cases.

    Raises:
        ValueError: a record cannot contain one of the names or values.
    """

    def __init__(
        self,
        output_dir: str | Path,
        task: str,
        description: DataDescription,
        network: Mapping[str, Any] | None,
        image_size: Sequence[int],
        divisor: int,
        intensity: Any,
        training: Mapping[str, Any],
        resume: bool = False,
        extend: bool = False,
        num_cases: int | None = None,
    ) -> None:
        self.folder, self.resume, self.extend = Path(output_dir), resume, extend
        self.record = RunRecord(
            task=task,
            network=None if network is None else NetworkRecord(**network),
            classes=tuple(description.classes),
            channels=tuple(description.channels),
            label_values=description.label_values,
            ignore_id=description.ignore_id,
            image_size=(image_size[0], image_size[1]),
            divisor=divisor,
            intensity=describe(intensity),
            trained_on=recordable_text(description.name),
            training_cases=num_cases,
            data_licence=recordable_text(description.licence),
            training=training,
        )
        check_record(self.record)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, before the handler that resumes it."""
        engine.add_event_handler(Events.STARTED, self._start)

    def _start(self) -> None:
        path = self.folder / SETTINGS_NAME
        if self.resume and path.is_file():
            saved, own = _comparable(read_record(path)), _comparable(self.record)
            own.pop("epochs", None)  # RunCheckpoint compares them: a run can be extended
            _refuse_differences(saved, own, f"{path} is of a run", "Resume with the same settings.")
        if idist.get_rank() == 0 and (not self.resume or self.extend or not path.is_file()):
            write_record(self.record, self.folder)


def require_settings(weights: str | Path, settings: Mapping[str, Any]) -> None:
    """Check settings against the record of the weights, if there is one.

    Args:
        weights: weights file.
        settings: values by name, such as "image_size", "divisor" and "intensity".

    Raises:
        ValueError: settings differ, or the record cannot be read.
    """
    saved = _comparable(run_record(weights))
    remedy = "Use the weights with the settings they were trained with."
    _refuse_differences(saved, describe(settings), f"{weights} was trained", remedy)


def _comparable(record: RunRecord) -> dict[str, Any]:
    """The recorded settings by name."""
    content = record.as_json()
    classes, training = content.pop("classes"), content.pop("training")
    content["class_names"] = [item["name"] for item in classes] or None
    content["channels"] = content["channels"] or None
    return {name: value for name, value in {**training, **content}.items() if value is not None}


def _refuse_differences(saved: Mapping[str, Any], wanted: Mapping[str, Any], whose: str, remedy: str) -> None:
    wanted = json.loads(json.dumps(wanted))  # as they would be read back
    differing = [name for name in wanted if name in saved and saved[name] != wanted[name]]
    if differing:
        shown = "; ".join(f"{name} {json.dumps(saved[name])}, here {json.dumps(wanted[name])}" for name in differing)
        raise ValueError(f"{whose} with {shown}. {remedy}")
