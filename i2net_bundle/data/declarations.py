"""Parse the labels and channels that a data list declares, in any of the common forms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from i2net_bundle.io.channels import legal_channels
from i2net_bundle.io.options import LABEL_VALUES
from i2net_bundle.labels.names import MAX_CLASSES, legal_names, plain_name

IGNORE = "ignore"
"""nnU-Net's name for unannotated pixels."""


def declared_labels(contents: Mapping[str, Any]) -> dict[int, str]:
    """Return the names by label id, from ids to names (Decathlon) or from names to ids (nnU-Net).

    Raises:
        ValueError: the labels have neither form, are overlapping regions, or repeat an id.
    """
    labels = contents.get("labels") or {}
    if not isinstance(labels, Mapping):
        raise ValueError(
            f'"labels" must map ids to names, such as {{"0": "background", "1": "liver"}}, found {labels!r}'
        )
    if all(_is_id(key) for key in labels):
        pairs = [(int(key), name) for key, name in labels.items()]
    else:
        regions = [str(name) for name, value in labels.items() if isinstance(value, list)]
        if regions:
            raise ValueError(
                f"its labels are regions that may overlap ({', '.join(regions)}), but a pixel has one class here. Give "
                "each class its own id"
            )
        wrong = next((value for value in labels.values() if isinstance(value, bool) or not _is_id(value)), None)
        if wrong is not None:
            raise ValueError(f"its label ids must be whole numbers from 0, found {wrong!r}")
        pairs = [(int(value), name) for name, value in labels.items()]
    for number, name in pairs:
        if not isinstance(name, str):
            raise ValueError(f"the name of label {number} must be text, found {name!r}")
        same = [other for other_number, other in pairs if other_number == number]
        if len(same) > 1:
            raise ValueError(f"the id {number} has several labels: {', '.join(map(str, same))}")
    return dict(sorted(pairs))


def declared_classes(contents: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, int | None]:
    """Return the class names in the order of their ids, and the id that losses and scores ignore.

    The id 0 is "background" if it has no name. The label called "ignore" is not a class, as in nnU-Net.

    Raises:
        ValueError: the ids have gaps or repeat, names are not text or repeat, or there are more than 256.
    """
    labels = declared_labels(contents)
    if not labels:
        return None, _ignore_id(contents.get("ignore_id"), 0)
    ignored = [number for number, name in labels.items() if plain_name(name) == IGNORE]
    classes = {number: name for number, name in labels.items() if number not in ignored}
    if 0 not in classes and 1 in classes:
        classes = {0: "background", **classes}
    missing = next((number for number in range(len(classes)) if number not in classes), None)
    if missing is not None:
        shown = ", ".join(map(str, list(classes)[:12])) + (", …" if len(classes) > 12 else "")
        raise ValueError(f"its label ids must run from 0 without gaps; {missing} is missing from {shown}")
    names = legal_names(classes.values())
    return names, _ignore_id(ignored[0] if ignored else contents.get("ignore_id"), len(names))


def declared_channels(contents: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the channel names from ``channel_names`` (nnU-Net), ``channels`` (a list) or ``modality`` (Decathlon).

    Raises:
        ValueError: the channels are not numbered from 0, or are not names.
    """
    key = next((key for key in ("channel_names", "channels", "modality") if contents.get(key)), None)
    if key is None:
        return None
    value = contents[key]
    if isinstance(value, str):
        return legal_channels([value])
    if isinstance(value, Mapping):
        if sorted(map(str, value)) != sorted(map(str, range(len(value)))):
            raise ValueError(f'"{key}" must number the channels from 0, found {", ".join(map(str, value))}')
        named = {str(number): name for number, name in value.items()}
        return legal_channels([named[str(number)] for number in range(len(value))])
    if isinstance(value, list):
        return legal_channels(value)
    raise ValueError(f'"{key}" must map numbers to names, such as {{"0": "T2", "1": "ADC"}}, found {value!r}')


def declared_label_values(contents: Mapping[str, Any]) -> str | None:
    """Return the declared contents of 2D masks: "instances", "binary" or "classes"; None if undeclared.

    Raises:
        ValueError: the value is none of these.
    """
    value = contents.get("label_values")
    if value is not None and value not in LABEL_VALUES:
        raise ValueError(f'"label_values" must be one of {", ".join(LABEL_VALUES)}, found {value!r}')
    return value


def declared_um_per_px(contents: Mapping[str, Any]) -> float | None:
    """Return the declared micrometres per pixel of 2D images; None if undeclared.

    Raises:
        ValueError: the value is not a number above 0.
    """
    value = contents.get("um_per_px")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise ValueError(f'"um_per_px" must be a number of micrometres above 0, found {value!r}')
    return float(value)


def declared_label_table(contents: Mapping[str, Any], folder: Path) -> str | None:
    """Return the label table that a data list names: a built-in name, or the path of a file in the list's folder.

    Raises:
        ValueError: the value is not a name or a relative path.
    """
    value = contents.get("label_table")
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise ValueError(f'"label_table" must be a name or a path, found {value!r}')
    if not value.lower().endswith(".json"):
        return value
    if Path(value).is_absolute():
        raise ValueError(f'"label_table" must be a path relative to the data list, found {value}')
    return str(folder / value)


def _is_id(value: object) -> bool:
    return str(value).isascii() and str(value).isdecimal()


def _ignore_id(value: object, num_classes: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not num_classes <= value < MAX_CLASSES:
        last = MAX_CLASSES - 1
        raise ValueError(f"its ignore_id must be a whole number from {num_classes} to {last}, found {value!r}")
    return value
