"""Classes and channels of a data set come from its data list, otherwise from the defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from i2net_bundle.data import describe_dataset, read_datalist
from i2net_bundle.data.description import reading_options
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.labels import class_names, label_table


def write_list(folder: Path, **contents: Any) -> Path:
    contents.setdefault("training", [{"image": "a.nii.gz", "label": "b.nii.gz"}])
    (folder / "dataset.json").write_text(json.dumps(contents), encoding="utf-8")
    return folder


def write_table(path: Path, *classes: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"classes": [{"name": "background"}, *classes]}), encoding="utf-8")
    return path


OWN = {"labels": {"0": "background", "1": "spleen", "2": "tumour"}}


def test_the_data_list_names_classes_and_channels(tmp_path: Path) -> None:
    found = describe_dataset(write_list(tmp_path, **OWN, modality={"0": "T2", "1": "ADC"}), label_table="synapse")
    assert found.class_names == ["background", "spleen", "tumour"]
    assert found.channels == ("T2", "ADC")


def test_known_classes_get_their_properties_and_unknown_ones_only_a_colour(tmp_path: Path) -> None:
    _, spleen, tumour = describe_dataset(write_list(tmp_path, **OWN), label_table="synapse").classes
    known = label_table("synapse").find("spleen")
    assert known is not None
    assert (spleen.color, spleen.snomed, spleen.volume_ml) == (known.color, known.snomed, known.volume_ml)
    assert (tumour.snomed, tumour.volume_ml, tumour.positions) == (None, None, ())
    assert tumour.color not in ("", spleen.color, "#000000")


@pytest.mark.parametrize("folder", [None, "absent"])
def test_without_a_data_list_the_table_and_the_given_channels_apply(tmp_path: Path, folder: str | None) -> None:
    place = None if folder is None else tmp_path / folder
    found = describe_dataset(place, label_table="synapse", channels=["T2"])
    assert (found.class_names, found.channels) == (class_names("synapse"), ("T2",))


def test_a_list_without_labels_takes_those_of_the_table(tmp_path: Path) -> None:
    assert describe_dataset(write_list(tmp_path), label_table="synapse").class_names == class_names("synapse")


def test_a_list_without_labels_and_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.json does not name its labels, and no label table was given"):
        describe_dataset(write_list(tmp_path))


def test_the_table_of_a_data_list_precedes_the_built_in_default(tmp_path: Path) -> None:
    write_table(tmp_path / "mine.json", {"name": "tumour", "color": "#123456", "snomed": ["108369006", "Neoplasm"]})
    found = describe_dataset(write_list(tmp_path, **OWN, label_table="mine.json"), label_table="synapse")
    assert found.classes[2].color == "#123456"
    assert found.classes[2].snomed == ("108369006", "Neoplasm")
    assert found.classes[1].snomed == ("78961009", "Spleen")


def test_a_users_table_precedes_the_one_of_the_data_list(tmp_path: Path) -> None:
    write_table(tmp_path / "mine.json", {"name": "tumour", "color": "#123456"})
    other = write_table(tmp_path / "other.json", {"name": "tumour", "color": "#654321"})
    found = describe_dataset(write_list(tmp_path, **OWN, label_table="mine.json"), label_table=other)
    assert found.classes[2].color == "#654321"


@pytest.mark.parametrize(
    ("value", "problem"),
    [("/etc/table.json", "must be a path relative to the data list"), (5, "must be a name or a path")],
)
def test_a_label_table_that_is_not_a_relative_path_is_refused(tmp_path: Path, value: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        describe_dataset(write_list(tmp_path, **OWN, label_table=value))


@pytest.mark.parametrize("label_values", ["instances", "binary"])
def test_two_class_masks_with_three_labels_are_refused(tmp_path: Path, label_values: str) -> None:
    write_list(tmp_path, **OWN, training=["a.png"], label_values=label_values)
    with pytest.raises(DataError, match=rf"declares {label_values} masks, which have two classes, but lists 3 classes"):
        describe_dataset(tmp_path)


def test_reading_options_prefer_the_users_choice_to_the_declarations_of_the_list(tmp_path: Path) -> None:
    labels = {"background": 0, "gland": 1, "ignore": 2}
    write_list(tmp_path, labels=labels, training=["a.png"], label_values="classes")
    found = read_datalist(tmp_path / "dataset.json")
    volumes, images, description = reading_options(found, VolumeOptions(), HistologyOptions(um_per_px=0.5))
    assert description is not None
    assert volumes.class_names == ("background", "gland")
    assert images == HistologyOptions(um_per_px=0.5, label_values="classes", num_classes=2, ignore_id=2)
    assert reading_options(found, VolumeOptions(), HistologyOptions(label_values="binary"))[1].label_values == "binary"
