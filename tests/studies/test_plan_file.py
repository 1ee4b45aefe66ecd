"""Descriptions of studies: what they mean, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2net_bundle.studies.plan import PlanError
from i2net_bundle.studies.plan_file import read_plan

SMALL = """
task: histology
settings: {epochs: 3}
axes:
  network: {i2net: , bilinear: {overlays: [peer.yaml], settings: {decoder: bilinear}}}
  K: {K=1: {settings: {num_learners: 1}}, K=3: {settings: {num_learners: 3, epochs: 5}}}
seeds: [0, 1]
folds: {count: 2}
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "grid.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_arms_are_all_combinations_and_later_settings_take_precedence(write) -> None:
    plan = read_plan(write(SMALL))
    assert [arm.name for arm in plan.arms] == ["i2net/K=1", "i2net/K=3", "bilinear/K=1", "bilinear/K=3"]
    last = plan.arms[-1].options
    assert last.overlays == ("peer.yaml",)
    assert last.settings == {"epochs": 5, "decoder": "bilinear", "num_learners": 3}
    assert (plan.reference, plan.seeds, plan.split, plan.title) == ("i2net/K=1", (0, 1), "validation", "grid")


def test_settings_of_the_command_line_take_precedence_over_all(write) -> None:
    plan = read_plan(write(SMALL), {"epochs": 1})
    assert {arm.options.settings["epochs"] for arm in plan.arms} == {1}


FAULTS = {
    "an unknown key": (SMALL + "sedes: [1]\n", "unknown keys: sedes. Did you mean 'seeds'?"),
    "a repeated key": (SMALL + "task: ct\n", "the key 'task' occurs twice"),
    "an unknown task": (SMALL.replace("histology", "histologie"), "task 'histologie' is unknown. Use one of: ct, mr"),
    "a tag": (SMALL + "title: !!python/object/apply:os.system [ls]\n", "not valid YAML: could not determine"),
    "an expression": (SMALL.replace("epochs: 3", "epochs: $__import__('os')"), "epochs contains an expression"),
    "an expression in a list": (
        SMALL.replace("epochs: 3", "image_size: ['@x', 2]"),
        "image_size contains an expression",
    ),
    "a target": (SMALL.replace("epochs: 3", "'network_def::_target_': os.system"), "is not the id of a setting"),
    "a section": (SMALL.replace("epochs: 3", "optimizer: {lr: 2}"), "must be a number, a text, true, false"),
    "a path of an overlay": (SMALL.replace("peer.yaml", "../peer.yaml"), "must be the file name of an overlay"),
    "the data set": (SMALL.replace("epochs: 3", "dataset_dir: DATA"), "remove the setting 'dataset_dir'"),
    "a name with a slash": (SMALL.replace("bilinear:", "a/b:"), "network 'a/b' cannot name a folder"),
    "names that differ in case": (SMALL.replace("bilinear:", "I2NET:"), "names differ only in case"),
    "an unknown reference": (SMALL + "reference: i2net\n", "no combination of the axes. Did you mean 'i2net/K="),
    "equal seeds": (SMALL.replace("[0, 1]", "[1, 1]"), "seeds must be a list of different whole numbers"),
    "one fold": (SMALL.replace("count: 2", "count: 1"), "count must be a whole number from 2, not 1"),
    "no folds": (SMALL.replace("folds: {count: 2}", ""), "lacks 'folds'"),
    "folds by site": (SMALL.replace("count: 2", "count: 2, by: site"), "by must be image or patient, not 'site'"),
    "lists with a path": (SMALL.replace("count: 2", "lists: [a/b.json]"), "without a path"),
    "a fold beyond the count": (SMALL.replace("count: 2", "count: 2, only: [0, 2]"), "only names fold 2, but 2 folds"),
    "folds that lack the split": (SMALL + "split: test\n", "split 'test' is not in folds that the study makes"),
    "no axes": ("task: ct\nfolds: {count: 2}\naxes: {}\n", "axes must map the name of each axis"),
    "a list": ("- task\n", "the study must map keys"),
    "nonsense": ("task: [\n", "is not valid YAML"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_description_is_refused(name: str, write) -> None:
    text, message = FAULTS[name]
    path = write(text)
    with pytest.raises(PlanError) as raised:
        read_plan(path)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.yaml does not exist\. Pass the YAML file of a study"):
        read_plan(tmp_path / "none.yaml")
