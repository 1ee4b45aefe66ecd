"""What is refused before the first run of a study: missing overlays, settings, networks, data lists and GPUs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from i2net_bundle.studies.cells import make_cell
from i2net_bundle.studies.plan import Plan, PlanError
from i2net_bundle.studies.plan_file import read_plan
from i2net_bundle.studies.preflight import build_network, require_gpus, study_folds, workflows
from i2net_bundle.studies.runner import Resources
from i2net_bundle.studies.study import prepare_study
from tests.studies.grids import SMALL


@pytest.fixture
def plan_of(tmp_path: Path):
    def plan_of(text: str = SMALL, folds: str = "{count: 3, pooled: [training, validation]}") -> Plan:
        path = tmp_path / "grid.yaml"
        path.write_text(text.replace("FOLDS", folds), encoding="utf-8")
        return read_plan(path)

    return plan_of


@pytest.fixture
def own_dir(gland_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(gland_dir, tmp_path / "data"))


FAULTS = {
    "a missing overlay": (
        "[peer.yaml]",
        "[pear.yaml]",
        r"there is no overlay 'pear.yaml' in .*Did you mean 'peer.yaml'",
    ),
    "an unknown setting": ("epochs: 3", "epoch: 3", r"ids that nothing uses: 'epoch' \(did you mean 'epochs'\?\)"),
    "an unknown argument": ("epochs: 3", "'optimizer::lrr': 3", r"'optimizer::lrr' \(did you mean 'optimizer::lr'\?\)"),
    "an unknown section": ("epochs: 3", "'train::model::x': 3", r"nothing uses the setting 'train::model::x'"),
    "a text for a number": ("epochs: 3", "learning_rate: 1e-3", r"learning_rate must be a number.*write 1.0e-3"),
    "a number for a truth": ("epochs: 3", "amp: 1", r"amp must be true or false, not 1"),
    "a device that is not there": ("epochs: 3", "device: 'cuda:99'", r"no device 'cuda:99'"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_setting_is_refused_and_its_arm_is_named(name: str, plan_of) -> None:
    before, after, message = FAULTS[name]
    plan = plan_of(SMALL.replace(before, after))
    with pytest.raises(PlanError, match=message) as raised:
        for arm in plan.arms:
            workflows(plan, arm)
    assert str(raised.value).startswith(f"{plan.path}: ")


def test_an_unknown_network_is_refused(plan_of, gland_dir: Path) -> None:
    plan = plan_of(SMALL.replace("decoder: bilinear", "decoder: bilinaer"))
    trained = workflows(plan, plan.arms[1]).trained
    with pytest.raises(PlanError, match=r"grid\.yaml: bilinear: decoder must be one of bilinear, nearest"):
        build_network(plan, plan.arms[1], trained, gland_dir, gland_dir / "dataset.json")


def test_overlays_of_the_user_are_found_only_in_the_folder_that_is_named(plan_of, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_net.yaml").write_text("divisor: 64\n")
    plan = plan_of(SMALL.replace("peer.yaml", "my_net.yaml").replace("{decoder: bilinear}", "{}"))
    with pytest.raises(PlanError, match=r"Pass the folder of your own overlays with --overlays"):
        workflows(plan, plan.arms[1])
    found = workflows(plan, plan.arms[1], tmp_path / "mine")
    assert found.trained["divisor"] == 64
    assert [path.name for path in found.train_files][-1] == "my_net.yaml"


def test_evaluation_gets_the_settings_that_a_shared_overlay_defines_and_no_others(plan_of) -> None:
    plan = plan_of()
    found = workflows(plan, plan.arms[1])
    assert dict(found.evaluate_settings) == {"decoder": "bilinear"}
    assert found.trained["epochs"] == 3 and found.trained["decoder"] == "bilinear"


def test_folds_that_the_study_makes_score_each_image_once_and_no_test_image(
    plan_of, gland_dir: Path, tmp_path: Path
) -> None:
    folds = study_folds(plan_of(), gland_dir, tmp_path / "out")
    scored = [name for fold in folds for name in fold.scored.values()]
    assert sorted(scored) == ["train_1", "train_2", "train_3"]
    assert all(len(fold.training) == 2 and fold.datalist.is_file() for fold in folds)


def test_a_study_runs_only_the_folds_that_it_names(plan_of, gland_dir: Path, tmp_path: Path) -> None:
    whole = study_folds(plan_of(folds="{count: 3}"), gland_dir, tmp_path / "whole")
    part = study_folds(plan_of(folds="{count: 3, only: [0, 2]}"), gland_dir, tmp_path / "part")
    assert [(fold.name, fold.training, fold.scored) for fold in part] == [
        (fold.name, fold.training, fold.scored) for fold in (whole[0], whole[2])
    ]


def test_a_data_list_without_folds_is_refused(plan_of, own_dir: Path, tmp_path: Path) -> None:
    content = json.loads((own_dir / "dataset.json").read_text())
    (own_dir / "whole.json").write_text(json.dumps({"training": content["training"]}))
    with pytest.raises(PlanError, match=r"whole\.json lists no 'validation' cases.*A fold needs the lists 'training'"):
        study_folds(plan_of(folds="{lists: [whole.json]}"), own_dir, tmp_path / "out")


def test_a_data_list_that_is_not_there_is_refused(plan_of, gland_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"has no fold_7\.json\. Copy the data lists there, or let the study make"):
        study_folds(plan_of(folds="{lists: [dataset.json, fold_7.json]}"), gland_dir, tmp_path / "out")


def test_folds_that_score_an_image_twice_are_refused(plan_of, own_dir: Path, tmp_path: Path) -> None:
    (own_dir / "copy.json").write_bytes((own_dir / "dataset.json").read_bytes())
    with pytest.raises(PlanError, match=r"copy\.json and dataset\.json both score .*so their scores cannot be joined"):
        study_folds(plan_of(folds="{lists: [dataset.json, copy.json]}"), own_dir, tmp_path / "out")


def test_a_data_set_of_another_task_is_refused(plan_of, gland_dir: Path, tmp_path: Path) -> None:
    plan = plan_of(SMALL.replace("task: histology", "task: ct"))
    with pytest.raises(PlanError, match=r"grid\.yaml: task: ct does not fit the data set: .*\.png is a 2D image\."):
        study_folds(plan, gland_dir, tmp_path)


def test_too_many_folds_are_refused(plan_of, gland_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"has 3 images in training and validation, too few for 9 folds"):
        study_folds(plan_of(folds="{count: 9}"), gland_dir, tmp_path / "out")


def test_more_gpus_than_there_are_are_refused() -> None:
    count = torch.cuda.device_count()
    require_gpus(count, "grid.yaml")
    with pytest.raises(PlanError, match=rf"grid\.yaml: {count + 1} GPUs were requested, but this machine has {count}"):
        require_gpus(count + 1, "grid.yaml")


def test_the_record_of_a_cell_leaves_out_where_it_runs(plan_of, gland_dir: Path, tmp_path: Path) -> None:
    records = []
    for workers in (0, 2):
        plan = plan_of(SMALL.replace("epochs: 3", f"epochs: 3, num_workers: {workers}"))
        fold = study_folds(plan, gland_dir, tmp_path / "out")[0]
        arm = plan.arms[0]
        records.append(dict(make_cell(plan, arm, workflows(plan, arm), fold, 0, gland_dir, tmp_path / "out").record))
    assert records[0] == records[1]
    assert (records[0]["epochs"], records[0]["seed"]) == (3, 0)
    assert not any(str(tmp_path) in str(value) for value in records[0].values())


def test_nothing_is_run_before_all_arms_are_checked(plan_of, gland_dir: Path, tmp_path: Path) -> None:
    plan = plan_of(SMALL.replace("decoder: bilinear", "decoder: bilinaer"))
    with pytest.raises(PlanError, match="decoder must be one of"):
        prepare_study(plan, gland_dir, tmp_path / "out", Resources())
    assert not (tmp_path / "out" / "cells").exists()
