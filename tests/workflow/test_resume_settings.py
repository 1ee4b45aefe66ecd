"""Everything that decides a result is recorded; paths, resources and observers are not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from i2net_bundle.workflow.config_files import config_files
from i2net_bundle.workflow.resume_settings import require_equal_settings, result_settings

Config = dict[str, Any]


@pytest.fixture
def config() -> Config:
    found: Config = ConfigParser.load_config_files(config_files("train.json"))
    return found


def settings_of(config: Config, cases: list[dict[str, Any]] | None = None) -> dict[str, str]:
    """Settings of a configuration, computed from inside it as in training."""
    parser = ConfigParser({**copy.deepcopy(config), "settings": "$result_settings(cases)"})
    parser.globals |= {"result_settings": result_settings, "cases": cases or []}
    found: dict[str, str] = parser.get_parsed_content("settings")
    return {name: value for name, value in found.items() if name != "settings"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c["loss"]["segmentation"].update(_target_="monai.losses.DiceLoss"), "loss::segmentation::_target_"),
        (lambda c: c["optimizer"].update(momentum=0.5), "optimizer::momentum"),
        (lambda c: c["network_def"].update(pos_dim=4), "network_def::pos_dim"),
        (lambda c: c.update(seed=1), "seed"),
        (lambda c: c["lr_scheduler"].update(power=1.0), "lr_scheduler::power"),
        (lambda c: c["train"]["preprocessing"].update(size=[32, 32]), "train::preprocessing::size"),
        (lambda c: c["intensity"].update(window_hu=[-160, 240]), "intensity::window_hu"),
        (lambda c: c["train"]["handlers"].append({"_target_": "package.ClipGradients"}), "train::handlers"),
    ],
    ids=["loss", "optimizer", "network", "seed", "schedule", "transforms", "intensity", "handler"],
)
def test_a_changed_decision_is_named(config: Config, change: Callable[[Config], None], named: str) -> None:
    before = settings_of(config)
    change(config)
    with pytest.raises(ValueError, match=named):
        require_equal_settings(before, settings_of(config), "checkpoint.pt")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(output_dir="elsewhere", device="cpu", num_workers=7, resume=True, cache_dir="cache"),
        lambda c: c["loss"].update(_desc_="other words"),
        lambda c: c["train"]["handlers"].append({"_target_": "LossProgressBar"}),
        lambda c: c.update(epochs=200, extend=True),
        lambda c: c["train"]["dataset"].update(data=[{"image": "moved.nii"}]),
    ],
    ids=["places", "comment", "observer", "length", "paths"],
)
def test_what_does_not_change_the_result_may_differ(config: Config, change: Callable[[Config], None]) -> None:
    before = settings_of(config)
    change(config)
    require_equal_settings(before, settings_of(config), "checkpoint.pt")


def test_the_cases_are_compared_by_content_and_order_and_not_by_name(config: Config, tmp_path: Path) -> None:
    cases = []
    for name in "abc":
        case = {part: str(tmp_path / f"{name}_{part}.nii") for part in ("image", "label")}
        for part, path in case.items():
            Path(path).write_text(name + part)
        cases.append(case)
    before = settings_of(config, cases)
    Path(cases[0]["image"]).rename(tmp_path / "renamed.nii")
    cases[0]["image"] = str(tmp_path / "renamed.nii")
    require_equal_settings(before, settings_of(config, cases), "checkpoint.pt")
    with pytest.raises(ValueError, match="training case 3 that is missing here"):
        require_equal_settings(before, settings_of(config, cases[:2]), "checkpoint.pt")
    Path(cases[1]["label"]).write_text("corrected")
    with pytest.raises(ValueError, match="with training case 2 of other content than here"):
        require_equal_settings(before, settings_of(config, cases), "checkpoint.pt")


def test_many_differences_are_counted() -> None:
    with pytest.raises(ValueError, match=r"checkpoint\.pt was trained with a 1, here not set; .*; and 2 more\. Resume"):
        require_equal_settings({name: "1" for name in "abcdefg"}, {}, "checkpoint.pt")
