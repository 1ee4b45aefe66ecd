"""Describe a data set: its classes with their properties, and its channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from i2net_bundle.data.datalist import DATALIST, DataList, read_datalist
from i2net_bundle.io.channels import CT, RGB, legal_channels
from i2net_bundle.io.findings import DataError, error
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.labels import LabelClass, classes_of, is_builtin, label_table


@dataclass(frozen=True)
class DataDescription:
    """Classes and channels of a data set.

    Attributes:
        classes: in the order of their ids, background first.
        channels: names of the images' channels.
        label_values: contents of the masks of 2D images: "instances", "binary" or "classes"; None if undeclared.
        ignore_id: label that is excluded from losses and scores.
        name: name of the data set; None if its data list has none.
        licence: licence of the data in words; None if its data list has none.
    """

    classes: tuple[LabelClass, ...]
    channels: tuple[str, ...]
    label_values: str | None = None
    ignore_id: int | None = None
    name: str | None = None
    licence: str | None = None

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, background first."""
        return [item.name for item in self.classes]


def describe_dataset(
    dataset_dir: str | Path | None,
    datalist: str = DATALIST,
    label_table: str | Path | None = None,
    channels: Sequence[str] = CT,
) -> DataDescription:
    """Describe a data set from its data list, with defaults for whatever the list omits.

    Class names come from the labels of the data list. Class properties come from ``label_table`` if it is a user's
    file, else from the table that the data list names, else from the built-in tables.

    Args:
        dataset_dir: folder of the data list. The defaults apply if it is None or contains no data list.
        datalist: file name of the data list.
        label_table: built-in table or a user's file; it supplies the classes if the data list has no labels.
        channels: default channel names.

    Raises:
        DataError: the data list contradicts itself; names the file.
        ValueError: neither the data list nor a table names the classes, or the table is invalid.
    """
    found = None
    if dataset_dir is not None and Path(dataset_dir, datalist).is_file():
        found = read_datalist(Path(dataset_dir, datalist))
    return describe_datalist(found, label_table, channels)


def describe_datalist(
    found: DataList | None, label_table: str | Path | None = None, channels: Sequence[str] = CT
) -> DataDescription:
    """Describe a data set from a data list in memory; see `describe_dataset`."""
    table = label_table
    if found is not None and found.label_table and (table is None or is_builtin(table)):
        table = found.label_table
    ignore_id = None if found is None else found.ignore_id
    if found is None or found.class_names is None:
        classes, table_ignore_id = _classes_of_table(found, table)
        ignore_id = table_ignore_id if ignore_id is None else ignore_id
    else:
        classes = classes_of(found.class_names, table)
    label_values = None if found is None else found.label_values
    if ignore_id is not None and ignore_id < len(classes):
        where = found.path if found else "the label table"
        problem = f"ignores the id {ignore_id}, which belongs to the class '{classes[ignore_id].name}'"
        raise DataError([error("datalist", where, problem, "Choose an id that no class has.")])
    if label_values in ("instances", "binary") and len(classes) != 2 and found is not None:
        problem = f"declares {label_values} masks, which have two classes, but lists {len(classes)} classes"
        remedy = 'Set "label_values": "classes", or list two labels.'
        raise DataError([error("label-values", found.path, problem, remedy)])
    chosen = found.channels if found is not None and found.channels else legal_channels(list(channels))
    name, licence = (None, None) if found is None else (found.name, found.licence)
    return DataDescription(classes, chosen, label_values, ignore_id, name, licence)


def reading_options(
    found: DataList, ct: VolumeOptions, histology: HistologyOptions, label_table: str | Path | None = None
) -> tuple[VolumeOptions, HistologyOptions, DataDescription | None]:
    """Combine the user's reading options with the declarations of a data list.

    Args:
        found: the data list.
        ct: the user's options for volumes.
        histology: the user's options for 2D images; its ``label_values`` overrides that of the list.
        label_table: see `describe_dataset`.

    Returns:
        options for volumes, options for 2D images, and the description, or None if nothing names the classes.
    """
    if found.class_names is None and label_table is None and found.label_table is None:
        channels = found.channels if found.channels and found.volumes else ct.channels
        return (
            replace(ct, channels=channels, ignore_id=found.ignore_id),
            replace(histology, label_values=histology.label_values or found.label_values, ignore_id=found.ignore_id),
            None,
        )
    description = describe_datalist(found, label_table, ct.channels)
    return *options_of(description, ct, histology), description


def options_of(
    description: DataDescription, ct: VolumeOptions, histology: HistologyOptions
) -> tuple[VolumeOptions, HistologyOptions]:
    """Return options for volumes and for 2D images with a description's classes and channels."""
    channels = ct.channels if description.channels == RGB else description.channels  # a list of 2D images
    volumes = replace(ct, classes=description.classes, channels=channels, ignore_id=description.ignore_id)
    label_values = histology.label_values or description.label_values
    images = replace(
        histology,
        label_values=label_values,
        num_classes=len(description.classes),
        ignore_id=description.ignore_id,
    )
    return volumes, images


def _classes_of_table(found: DataList | None, table: str | Path | None) -> tuple[tuple[LabelClass, ...], int | None]:
    if table is None:
        where = f"{found.path} does not name its labels" if found else "No data list names the labels"
        raise ValueError(
            f'{where}, and no label table was given. Add "labels": {{"0": "background", "1": …}} to the data list, or '
            "pass a table with label_table (--labels of i2net)."
        )
    chosen = label_table(table)
    return classes_of(chosen.names, chosen), chosen.ignore_id
