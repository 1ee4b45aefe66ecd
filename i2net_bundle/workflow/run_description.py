"""Classes and channels that weights were trained with, checked against the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from i2net_bundle.data import DataDescription, describe_dataset
from i2net_bundle.data.datalist import DATALIST, read_datalist
from i2net_bundle.labels import classes_of, is_builtin
from i2net_bundle.workflow.run_records import RunRecord, run_record


def describe_run(
    weights: str | Path,
    dataset_dir: str | Path | None = None,
    datalist: str = DATALIST,
    label_table: str = "synapse",
    channels: Sequence[str] = ("CT",),
) -> DataDescription:
    """Read the classes, channels and label values of weights; without a record, those of the data.

    Args:
        weights: weights file, with or without ``settings.json`` beside it.
        dataset_dir: folder of labelled cases to compare with, if any.
        datalist: name of the data list in that folder.
        label_table: name of a built-in table or path of a table file, for data without labels. A table file also
            replaces the recorded colours, codes and volumes.
        channels: image channels, if neither the record nor the data list names them.

    Raises:
        ValueError: the classes or channels of the data list differ from those of the weights.
    """
    record = run_record(weights)
    if record.classes is None:
        return describe_dataset(dataset_dir, datalist, label_table, channels)
    if dataset_dir is not None and (Path(dataset_dir) / datalist).is_file():
        _refuse_other_data(record, Path(weights), Path(dataset_dir) / datalist)
    classes = record.classes
    if not is_builtin(label_table):
        classes = classes_of([item.name for item in classes], label_table)
    recorded = DataDescription(
        classes=classes,
        channels=record.channels or tuple(channels),
        label_values=record.label_values,
        ignore_id=record.ignore_id,
    )
    if record.label_values is None and dataset_dir is not None:  # label values are a property of the data
        return replace(
            recorded, label_values=describe_dataset(dataset_dir, datalist, label_table, channels).label_values
        )
    return recorded


def _refuse_other_data(record: RunRecord, weights: Path, path: Path) -> None:
    data = read_datalist(path)
    pairs = [("classes", list(data.class_names or ()), [item.name for item in record.classes or ()])]
    if record.task != "histology":  # histology always has red, green and blue, whatever a list calls them
        pairs.append(("channels", list(data.channels or ()), list(record.channels or ())))
    for what, found, own in pairs:
        if found and own and found != own:
            raise ValueError(
                f"{path} lists the {what} {', '.join(found)}; {weights} was trained with {', '.join(own)}. Use weights "
                "trained on such data, or correct the data list."
            )
