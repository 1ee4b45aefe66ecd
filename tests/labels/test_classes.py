"""Classes with any names get their properties, and users' tables are validated."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from i2net_bundle.labels import LabelClass, classes_of, label_class, label_table


def write_table(path: Path, **content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


# Classes by name


def test_a_name_keeps_its_spelling_and_gets_the_properties_of_its_synonym() -> None:
    (kidney,) = classes_of(["Kidney_Left"])
    known = label_table("synapse").find("left kidney")
    assert known is not None
    assert kidney.name == "Kidney_Left"
    assert (kidney.color, kidney.snomed, kidney.laterality) == (known.color, known.snomed, known.laterality)
    assert kidney.is_called("left kidney")


def test_background_is_black_and_every_class_has_a_colour_of_its_own() -> None:
    classes = classes_of(["background", "gland", "left kidney", *(f"class {number}" for number in range(253))])
    assert classes[0].color == "#000000"
    colors = [item.color for item in classes]
    assert len(set(colors)) == len(classes) == 256
    assert all(re.fullmatch("#[0-9A-F]{6}", color) for color in colors)


def test_generated_colours_are_the_same_in_every_run() -> None:
    assert [item.color for item in classes_of(["background", "a", "b"])] == ["#000000", "#E69F00", "#56B4E9"]


def test_few_classes_have_colours_far_apart() -> None:
    colors = [item.color for item in classes_of(["background", *(f"class {number}" for number in range(20))])]
    levels = [[int(color[start : start + 2], 16) for start in (1, 3, 5)] for color in colors]
    apart = min(
        sum(abs(a - b) for a, b in zip(first, second, strict=True))
        for number, first in enumerate(levels)
        for second in levels[:number]
    )
    assert apart >= 60


def test_each_property_in_a_users_table_precedes_that_of_the_built_in_tables(tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "own.json",
        classes=[
            {"name": "background"},
            {"name": "liver", "color": "#00ff00", "volume_ml": [100, 9000]},
            {"name": "bowel", "color": "#E69F00", "synonyms": ["intestine"]},
        ],
    )
    _, aorta, liver, bowel = classes_of(["background", "aorta", "Liver", "intestine"], table)
    assert (liver.color, liver.volume_ml, liver.snomed) == ("#00FF00", (100, 9000), ("10200004", "Liver"))
    assert bowel.color == "#E69F00"
    assert aorta.color not in ("#E69F00", "#00FF00")  # the table's wish precedes the aorta's own colour


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([], "there are 0 classes"),
        (["a", "A"], "two classes have the same name: 'a' and 'A'"),
        (["left_kidney", "Left kidney"], "the same name"),
        (["a", 1], "the name of class 1 must be text"),
        (["a", " "], "the name of class 1 is empty"),
    ],
)
def test_invalid_class_names_are_refused(names: list[Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        classes_of(names)


@pytest.mark.parametrize("name", ["spleen", "tumour", "left kidney"])
def test_a_class_survives_a_round_trip_through_json(name: str) -> None:
    (item,) = classes_of([name])
    assert label_class(json.loads(json.dumps(item.as_json()))) == item


# A user's table


def test_a_table_from_a_file_has_its_classes_in_order(tmp_path: Path) -> None:
    path = write_table(
        tmp_path / "pelvis.json",
        description="Organs of the pelvis",
        classes=[
            {"name": "background"},
            {
                "name": "prostate",
                "color": "#112233",
                "synonyms": ["gland of the pelvis"],
                "volume_ml": [5, 300],
                "snomed": ["41216001", "Prostate"],
                "positions": [["posterior", "bladder"]],
            },
            {"name": "bladder"},
        ],
        ignore_id=9,
    )
    table = label_table(path)
    assert (table.name, table.names, table.ignore_id) == ("pelvis", ["background", "prostate", "bladder"], 9)
    assert table.classes[1] == LabelClass(
        "prostate",
        "#112233",
        ("gland of the pelvis",),
        (5, 300),
        ("41216001", "Prostate"),
        positions=(("posterior", "bladder"),),
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([], 'it must be an object with a list "classes"'),
        ({}, 'it needs a list "classes" of at least one class'),
        ({"classes": [], "name": "x"}, "at least one class"),
        ({"classes": [{"name": "a"}], "colour": 1}, "unknown key 'colour'"),
        ({"classes": ["a"]}, "a class must be an object"),
        ({"classes": [{"colour": "#000000"}]}, r"unknown key 'colour' \(did you mean 'color'\?\)"),
        ({"classes": [{"color": "#000000"}]}, "a class has no name"),
        ({"classes": [{"name": "a", "color": "red"}]}, "the color of 'a' must be written #RRGGBB"),
        ({"classes": [{"name": "a", "color": "#11223344"}]}, "must be written #RRGGBB"),
        ({"classes": [{"name": "a", "synonyms": "b"}]}, "the synonyms of 'a' must be a list"),
        ({"classes": [{"name": "a", "volume_ml": [5]}]}, "the volume_ml of 'a'"),
        ({"classes": [{"name": "a", "volume_ml": [5, 1]}]}, "the volume_ml of 'a'"),
        ({"classes": [{"name": "a", "volume_ml": [0, True]}]}, "the volume_ml of 'a'"),
        ({"classes": [{"name": "a", "snomed": ["T-62000", "Liver"]}]}, "must be a SNOMED CT code"),
        ({"classes": [{"name": "a", "snomed": ["10200004", "x" * 65]}]}, "at most 64 characters"),
        ({"classes": [{"name": "a", "positions": [["above", "b"]]}]}, "a position of 'a' must be a direction"),
        ({"classes": [{"name": "a", "positions": [["left", "b"]]}]}, "names 'b', which is not another class"),
        ({"classes": [{"name": "a"}, {"name": "b", "synonyms": ["A"]}]}, "the name 'a' is used twice"),
        (
            {"classes": [{"name": "a", "color": "#111111"}, {"name": "b", "color": "#111111"}]},
            "two classes have the color #111111",
        ),
        ({"classes": [{"name": "a"}], "ignore_id": 0}, '"ignore_id" must be a whole number from 1 to 255'),
        ({"classes": [{"name": "a"}], "sources": {"x": {"classes": {"b": "a"}}}}, "the source 'x' must have"),
    ],
)
def test_a_malformed_table_is_refused_with_the_file_and_the_fault(tmp_path: Path, content: Any, problem: str) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^{path} is not a label table: .*{problem}"):
        label_table(path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000], ids=["cut off", "UTF-16", "deep"])
def test_a_file_that_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "own.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"own\.json is not a label table"):
        label_table(tmp_path / "own.json")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"No label table {tmp_path / 'own.json'}"):
        label_table(tmp_path / "own.json")


def test_the_table_in_the_documentation_is_valid(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 1
    (tmp_path / "pelvis.json").write_text(blocks[0], encoding="utf-8")
    assert label_table(tmp_path / "pelvis.json").names == ["background", "prostate", "bladder"]
