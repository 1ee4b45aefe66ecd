"""Only misspelt ids stop a workflow."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.properties import InferProperties, TrainProperties
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS

from i2net_bundle.workflow.config_check import UnknownConfigKeyError, check_config, unknown_keys
from i2net_bundle.workflow.running_config import shipped_ids

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
IDS = [name for name in json.loads((CONFIGS / "train.json").read_text(encoding="utf-8")) if not name.startswith("_")]
COMPOSITIONS = [
    ["train.json"],
    ["train.json", "histology.yaml", "histology_train.yaml"],
    ["train.json", "histology.yaml", "histology_train.yaml", "glas_small.yaml"],
    ["train.json", "demo_ct.yaml", "demo_ct_train.yaml"],
    ["train.json", "histology.yaml", "histology_train.yaml", "demo_histology_train.yaml"],
    ["evaluate.json"],
    ["evaluate.json", "histology.yaml"],
    ["evaluate.json", "demo_ct.yaml"],
    ["inference.json"],
    ["inference.json", "histology.yaml"],
    ["inference.json", "demo_ct.yaml"],
    ["train.json", "unet.yaml"],
    ["train.json", "histology.yaml", "histology_train.yaml", "unet.yaml"],
    ["train.json", "histology.yaml", "histology_train.yaml", "glas_small.yaml", "unet.yaml"],
    ["evaluate.json", "histology.yaml", "unet.yaml"],
    ["inference.json", "unet.yaml"],
    ["train.json", "peer.yaml"],
    ["train.json", "histology.yaml", "histology_train.yaml", "peer.yaml"],
    ["evaluate.json", "peer.yaml"],
    ["inference.json", "histology.yaml", "peer.yaml"],
]


def problems(*files: str, **overrides: Any) -> str:
    """What `check_config` says of a composition with overrides, the empty string where it says nothing.

    Overrides are set as MONAI sets them from the command line.
    """
    parser = ConfigParser()
    parser.read_config([CONFIGS / name for name in files or ("train.json",)])
    parser.update(overrides)
    check = [i for i, item in enumerate(parser["initialize"]) if item["_target_"].endswith("check_config")]
    assert len(check) == 1
    try:
        parser.get_parsed_content(f"initialize::{check[0]}")
    except RuntimeError as error:  # MONAI's wrapper
        assert isinstance(error.__cause__, UnknownConfigKeyError)
        return str(error.__cause__)
    return ""


def misspellings() -> list[Any]:
    """Each top-level id with its middle letter dropped, doubled, or swapped with the one before, in turn."""
    found = []
    for name, kind in zip(IDS, itertools.cycle(["dropped", "doubled", "swapped"])):
        middle = len(name) // 2
        dropped = name[:middle] + name[middle + 1 :]
        misspelt = {
            "dropped": dropped,
            "doubled": name[:middle] + name[middle] + name[middle:],
            "swapped": name[: middle - 1] + name[middle] + name[middle - 1] + name[middle + 1 :],
        }[kind]
        misspelt = dropped if misspelt == name else misspelt  # two equal letters were swapped
        assert misspelt not in shipped_ids(), misspelt
        found.append(pytest.param(name, misspelt, id=f"{misspelt} for {name}"))
    return found


@pytest.mark.parametrize(("name", "misspelt"), misspellings())
def test_every_misspelt_top_level_id_is_refused_with_the_right_one(name: str, misspelt: str) -> None:
    assert problems(**{misspelt: 7}) == (
        f"The configuration has ids that nothing uses: '{misspelt}' (did you mean '{name}'?). "
        "Correct or remove them on the command line or in the overlay file."
    )


@pytest.mark.parametrize(
    ("misspelt", "suggestion"),
    [
        ("epoch", "epochs"),
        ("train::trainer::max_epoch", "train::trainer::max_epochs"),
        ("train::handler", "train::handlers"),
        ("train::dataset::cache", "train::dataset::cache_dir"),
        ("train::dataloader::batchsize", "train::dataloader::batch_size"),
        ("train::dataset::data::cases::dataset_dirs", "train::dataset::data::cases::dataset_dir"),
        ("train::preprocessing::sizes", "train::preprocessing::size"),
        ("validate::evaluators", "validate::evaluator"),
        ("validate::evaluator::val_dataloader", "validate::evaluator::val_data_loader"),
        ("network_def::num_learner", "network_def::num_learners"),
        ("optimizer::momentums", "optimizer::momentum"),
        ("lr_scheduler::powers", "lr_scheduler::power"),
        ("loss::lambda_gss", "loss::lambda_gs"),
        ("loss::segmentation::ce_weights", "loss::segmentation::ce_weight"),
        ("inferer::batchsize", "inferer::batch_size"),
        ("train::handlers::2::intervall", "train::handlers::2::interval"),
    ],
)
def test_a_misspelt_nested_id_is_refused_with_the_right_one(misspelt: str, suggestion: str) -> None:
    found = problems(**{misspelt: 7})
    assert f"(did you mean '{suggestion}'?)" in found
    assert found.count("did you mean") == 1


def test_the_correct_override_is_allowed_wherever_a_misspelt_one_is_refused() -> None:
    overrides = {"epochs": 7, "optimizer::momentum": 0.5, "train::dataloader::batch_size": 2}
    assert problems(**overrides, **{"network_def::num_learners": 4, "train::trainer::max_epochs": 7}) == ""


def test_all_misspelt_ids_are_named_at_once() -> None:
    found = problems(**{"epoch": 7, "batchsize": 2, "network_def::num_learner": 4})
    assert all(name in found for name in ("'epoch'", "'batchsize'", "'network_def::num_learner'"))
    assert found.count("did you mean") == 3


def test_an_id_unlike_any_other_is_refused_without_a_suggestion() -> None:
    assert "that nothing uses: 'zzzzzz'. Correct" in problems(zzzzzz=1)


@pytest.mark.parametrize("files", COMPOSITIONS, ids=" + ".join)
def test_every_configuration_of_the_bundle_passes(files: list[str]) -> None:
    if missing := [name for name in files if not (CONFIGS / name).is_file()]:
        pytest.fail(f"no such file: {missing}")
    assert problems(*files) == ""


@pytest.mark.parametrize("files", COMPOSITIONS, ids=" + ".join)
def test_a_misspelt_override_is_refused_in_every_configuration(files: list[str]) -> None:
    assert "'batch_sise' (did you mean 'batch_size'?)" in problems(*files, batch_sise=2)


@pytest.mark.parametrize("files", COMPOSITIONS, ids=" + ".join)
def test_every_id_of_the_shipped_workflows_may_be_unused_in_every_configuration(files: list[str]) -> None:
    parser = ConfigParser()
    parser.read_config([CONFIGS / name for name in files])
    absent = shipped_ids() - {*parser.get()}
    assert problems(*files, **dict.fromkeys(absent)) == ""


@pytest.mark.parametrize(
    ("overlay", "expected"),
    [
        ("epoch: 7\n", "'epoch' (did you mean 'epochs'?)"),
        ("trian:\n  trainer:\n    max_epochs: 7\n", "'trian' (did you mean 'train'?)"),
        ("network_def::num_learner: 4\n", "'network_def::num_learner' (did you mean 'network_def::num_learners'?)"),
        ("+network_def:\n  num_learner: 4\n", "'network_def::num_learner' (did you mean 'network_def::num_learners'?)"),
        ("+train:\n  dataloder:\n    batch_size: 4\n", "'train::dataloder' (did you mean 'train::dataloader'?)"),
    ],
    ids=["top level", "section", "one value", "merged", "merged section"],
)
def test_unknown_keys_of_an_overlay_are_refused(tmp_path: Path, overlay: str, expected: str) -> None:
    (tmp_path / "mine.yaml").write_text(overlay, encoding="utf-8")
    parser = ConfigParser()
    parser.read_config([CONFIGS / "train.json", tmp_path / "mine.yaml"])
    with pytest.raises(RuntimeError) as caught:
        parser.get_parsed_content("initialize::1")
    assert expected in str(caught.value.__cause__)


MLFLOW = DEFAULT_EXP_MGMT_SETTINGS["mlflow"]


@pytest.mark.parametrize("name", sorted({*MLFLOW["configs"]} - {*MLFLOW["handlers_id"]}))
def test_ids_that_mlflow_tracking_adds_are_allowed(name: str) -> None:
    assert problems(**{name: "x"}) == ""


@pytest.mark.parametrize("name", ["save_execute_config", "imports", "finalize"])
def test_other_ids_that_monai_reads_are_allowed(name: str) -> None:
    assert problems(**{name: "x"}) == ""


@pytest.mark.parametrize(
    ("file", "properties"),
    [("train.json", TrainProperties), ("inference.json", InferProperties)],
    ids=["train", "inference"],
)
def test_ids_of_monai_s_own_properties_are_allowed(file: str, properties: dict[str, dict[str, Any]]) -> None:
    parser = ConfigParser()
    parser.read_config(CONFIGS / file)
    added = [entry["id"] for entry in properties.values() if entry["id"] not in parser]
    assert added
    assert problems(file, **dict.fromkeys(added)) == ""


@pytest.mark.parametrize("expression", ["@warmup", "$@warmup * 2", "$min(@warmup, @batch_size)"])
def test_a_users_id_is_allowed_if_an_expression_refers_to_it(expression: str) -> None:
    assert "'warmup'" in problems(warmup=5)
    assert problems(**{"warmup": 5, "lr_scheduler::total_iters": expression}) == ""


@pytest.mark.parametrize("reference", ["@mine::deep::0", "@mine#deep#0", "@mine"])
def test_a_users_section_is_allowed_if_part_of_it_is_referred_to(reference: str) -> None:
    assert problems(mine={"deep": [1, 2]}, epochs=reference) == ""


def test_an_unused_part_of_a_users_section_is_refused() -> None:
    found = problems(mine={"used": 1, "usd": 2}, epochs="@mine::used")
    assert "'mine::usd' (did you mean 'mine::used'?)" in found


@pytest.mark.parametrize("key", ["_desc_", "train::_desc_", "optimizer::_desc_", "optimizer::_disabled_"])
def test_comments_and_monai_s_own_markers_are_allowed(key: str) -> None:
    assert problems(**{key: True}) == ""


def test_components_that_accept_any_argument_or_cannot_be_found_are_not_checked() -> None:
    config = {
        "a": {"_target_": "builtins.dict", "anything": 1},
        "b": {"_target_": "no.such.thing", "x": 1},
        "run": "$@a, @b",
    }
    assert list(unknown_keys(config)) == []


def test_settings_are_allowed_although_nothing_refers_to_them() -> None:
    assert [key for key, _ in unknown_keys({"seed": 0, "run": "$1"})] == ["seed"]
    assert list(unknown_keys({"seed": 0, "run": "$1"}, settings=["seed"])) == []


def test_outside_a_configuration_the_check_refuses_to_run() -> None:
    with pytest.raises(RuntimeError, match="works only inside a bundle configuration"):
        check_config()


@pytest.mark.parametrize("misspelt", ["epoch", "train::trainer::max_epoch"])
def test_a_workflow_with_a_misspelt_override_stops_before_any_work(
    misspelt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the workflow replaces it
    workflow = ConfigWorkflow(
        config_file=str(CONFIGS / "train.json"),
        meta_file=False,  # type: ignore[arg-type]
        logging_file=False,
        workflow_type="train",
        bundle_root=str(tmp_path),
        **{misspelt: 7},
    )
    with pytest.raises(RuntimeError) as caught:
        workflow.initialize()
    assert isinstance(caught.value.__cause__, UnknownConfigKeyError)
    assert misspelt in str(caught.value.__cause__)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "configs").glob("*.*")), ids=lambda path: path.name
)
def test_configurations_are_plain_ascii(path: Path) -> None:
    path.read_text(encoding="ascii")  # MONAI opens them in the locale's encoding, whichever that is


@pytest.mark.parametrize(
    ("written", "meant"), [("false", False), ("true", True), ("False", False), (True, True)], ids=str
)
def test_a_boolean_in_lower_case_is_read_as_a_boolean(written: Any, meant: bool) -> None:
    workflow = ConfigWorkflow(str(CONFIGS / "evaluate.json"), workflow_type="infer", overwrite=written)
    workflow.initialize()
    assert workflow.parser.get_parsed_content("overwrite") is meant


@pytest.mark.parametrize(("written", "meant"), [("false", False), ("true", True)])
def test_a_boolean_inside_a_component_or_a_list_is_read_as_a_boolean(written: str, meant: bool) -> None:
    files = [str(CONFIGS / "evaluate.json"), str(CONFIGS / "histology.yaml")]
    nested = {"inferer::average_flips": written, "postprocessing::transforms::2::nearest_interp": written}
    workflow = ConfigWorkflow(files, workflow_type="infer", **nested)
    workflow.initialize()
    assert workflow.parser.get_parsed_content("inferer").average_flips is meant
    _, _, invert, *_ = workflow.parser.get_parsed_content("postprocessing").transforms
    assert invert.nearest_interp == (meant,)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("liver, left kidney,spleen", ["liver", "left kidney", "spleen"]), (("a", "b"), ["a", "b"]), (["a"], ["a"])],
    ids=["text", "tuple", "list"],
)
def test_names_on_the_command_line_are_counted_by_names_and_not_by_letters(written: Any, meant: list[str]) -> None:
    workflow = ConfigWorkflow(str(CONFIGS / "evaluate.json"), workflow_type="infer", class_names=written)
    workflow.initialize()
    assert workflow.parser.get_parsed_content("class_names") == meant
    assert workflow.parser.get_parsed_content("num_classes") == len(meant)


def test_an_expression_for_names_stays_an_expression() -> None:
    workflow = ConfigWorkflow(str(CONFIGS / "evaluate.json"), workflow_type="infer", channels="$['T2', 'ADC']")
    workflow.initialize()
    assert workflow.parser.get_parsed_content("num_channels") == 2
