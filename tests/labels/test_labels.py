"""The built-in label tables are consistent, and other numberings are mapped as declared or refused."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import i2net_bundle.labels
from i2net_bundle.labels import LabelTable, class_names, label_table, map_labels

NAMES = sorted(item.name[:-5] for item in resources.files(i2net_bundle.labels).iterdir() if item.name.endswith(".json"))
SYNAPSE = label_table("synapse")


@pytest.fixture(params=NAMES)
def table(request: pytest.FixtureRequest) -> LabelTable:
    return label_table(request.param)


def test_the_known_tables_are_those_of_the_three_data_sets() -> None:
    assert NAMES == ["cityscapes", "glas", "synapse"]


# Tables


def test_a_table_is_named_like_its_file_and_has_a_description(table: LabelTable) -> None:
    assert table.name in NAMES
    assert label_table(table.name) is table
    assert table.description


def test_names_are_those_of_the_classes_in_order(table: LabelTable) -> None:
    assert class_names(table.name) == table.names == [item.name for item in table.classes]


def test_names_and_synonyms_are_written_as_they_are_compared_and_mean_one_class(table: LabelTable) -> None:
    spellings = [spelling for item in table.classes for spelling in (item.name, *item.synonyms)]
    assert len(set(spellings)) == len(spellings)
    assert all(spelling == " ".join(spelling.lower().replace("_", " ").split()) for spelling in spellings)
    for item in table.classes:
        assert all(table.find(spelling) is item for spelling in (item.name, *item.synonyms))


def test_colours_are_distinct(table: LabelTable) -> None:
    colours = [item.color for item in table.classes]
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in colours)
    assert len(set(colours)) == len(colours)


def test_positions_refer_to_classes_and_volumes_are_plausible(table: LabelTable) -> None:
    for item in table.classes:
        for direction, other in item.positions:
            assert other in table.names
            assert other != item.name
            assert direction in ("right", "left", "posterior", "superior")
    assert all(0 < item.volume_ml[0] < item.volume_ml[1] for item in table.classes if item.volume_ml)


def test_no_dropped_name_is_a_class(table: LabelTable) -> None:
    assert all(table.find(name) is None for name in table.dropped)


def test_every_declared_numbering_maps_to_classes_of_the_table(table: LabelTable) -> None:
    allowed = {*range(len(table.classes)), table.ignore_id}
    for source in table.sources:
        assert set(table.source_map(source).values()) <= allowed


def test_an_unknown_table_is_refused_and_the_known_ones_listed() -> None:
    with pytest.raises(ValueError, match=r"^Unknown label table 'kits'; known: cityscapes, glas, synapse\. A user's"):
        label_table("kits")


def test_synapse_has_the_organs_in_the_order_of_the_protocol() -> None:
    assert class_names("synapse") == [
        "background",
        "aorta",
        "gallbladder",
        "left kidney",
        "right kidney",
        "liver",
        "pancreas",
        "spleen",
        "stomach",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Gall_Bladder", "gallbladder"),
        ("kidney_left", "left kidney"),
        ("Left Kidney", "left kidney"),
        ("right-kidney", "right kidney"),
        ("rkidney", "right kidney"),
        (" LIVER ", "liver"),
    ],
)
def test_a_class_is_found_by_synonym_in_any_case_and_with_any_separator(name: str, expected: str) -> None:
    found = SYNAPSE.find(name)
    assert found is not None
    assert found.name == expected


@pytest.mark.parametrize("name", ["kidney", "oesophagus", ""])
def test_an_unknown_name_is_not_found(name: str) -> None:
    assert SYNAPSE.find(name) is None


# Numberings


def test_btcv_maps_as_in_the_protocol() -> None:
    kept = {8: 1, 4: 2, 3: 3, 2: 4, 6: 5, 11: 6, 1: 7, 7: 8}
    assert SYNAPSE.source_map("btcv") == {0: 0, **dict.fromkeys(range(1, 14), 0), **kept}


def test_btcv_without_the_gaps_maps_like_btcv() -> None:
    in_btcv = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 7, 7: 8, 8: 11}
    btcv = SYNAPSE.source_map("btcv")
    assert SYNAPSE.source_map("btcv8") == {0: 0, **{old: btcv[raw] for old, raw in in_btcv.items()}}


def test_transunet_is_this_table_s_own_order() -> None:
    assert SYNAPSE.source_map("transunet") == {index: index for index in range(9)}


def test_cityscapes_keeps_19_ids_and_ignores_the_others() -> None:
    # labels.py of cityscapesScripts: id to trainId
    kept = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    expected = {**dict.fromkeys(range(34), 255), **{old: new for new, old in enumerate(kept)}}
    assert len(kept) == 19
    assert label_table("cityscapes").source_map("labelIds") == expected


def test_masks_of_0_and_255_become_glands() -> None:
    assert label_table("glas").source_map("binary") == {0: 0, 255: 1}


def test_a_numbering_given_by_names_is_mapped_and_dropped_names_become_background() -> None:
    names = {1: "Spleen", 2: "kidney_right", 3: "Esophagus", 4: "Portal-Vein and Splenic_Vein"}
    assert SYNAPSE.source_map(names) == {0: 0, 1: 7, 2: 4, 3: 0, 4: 0}


def test_an_undeclared_numbering_is_refused_and_the_known_ones_listed() -> None:
    with pytest.raises(
        ValueError, match=r"^Unknown numbering 'amos' of synapse labels; known: btcv, transunet, btcv8\.$"
    ):
        SYNAPSE.source_map("amos")


def test_a_name_that_is_neither_a_class_nor_dropped_is_refused_with_the_classes() -> None:
    with pytest.raises(
        ValueError, match=r"^Label 2 'heart' is not a class of synapse \(background, aorta, .*stomach\)"
    ):
        SYNAPSE.source_map({1: "liver", 2: "heart"})


# Mapping


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32])
def test_a_label_map_is_renumbered(dtype: type) -> None:
    labels = np.array([[[0, 8], [6, 13]], [[1, 4], [2, 3]]], dtype)
    mapped = map_labels(labels, SYNAPSE.source_map("btcv"), "label.nii.gz")
    assert mapped.dtype == np.uint8
    np.testing.assert_array_equal(mapped, [[[0, 1], [5, 0]], [[7, 2], [4, 3]]])


def test_mapping_equals_a_loop_over_voxels() -> None:
    ids = SYNAPSE.source_map("btcv")
    labels = np.random.default_rng(0).integers(0, 14, (5, 6, 7))
    expected = np.array([ids[value] for value in labels.ravel().tolist()]).reshape(labels.shape)
    np.testing.assert_array_equal(map_labels(labels, ids, ""), expected)


def test_values_that_the_numbering_does_not_declare_are_refused_and_the_file_is_named() -> None:
    labels = np.array([0, 1, 9, 200])
    with pytest.raises(
        ValueError,
        match=r"^raw/label0001\.nii\.gz: contains labels 9, 200, which the numbering does not declare \(it declares "
        r"0, 1, 2, 3, 4, 5, 6, 7, 8\)\. Pass the numbering that this file uses\.$",
    ):
        map_labels(labels, SYNAPSE.source_map("btcv8"), "raw/label0001.nii.gz")


@pytest.mark.parametrize(
    ("metadata", "table"), [("metadata.json", "synapse"), ("metadata_histology.json", "glas")], ids=["ct", "glas"]
)
def test_metadata_names_the_values_of_a_mask_as_the_table_does(metadata: str, table: str) -> None:
    content = json.loads((Path(__file__).parents[2] / "configs" / metadata).read_text())
    channels = content["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert channels == {str(index): name for index, name in enumerate(class_names(table))}
