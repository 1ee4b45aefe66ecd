"""`i2net study`: what its options mean, and what it refuses before it runs anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from i2net_bundle.cli import main
from i2net_bundle.studies import study
from i2net_bundle.studies.runner import Resources

SMOKE = Path(__file__).parents[2] / "configs" / "studies" / "smoke.yaml"


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def run_study(*arguments: Any, **options: Any) -> bool:
        found.update(options, arguments=arguments)
        return False

    monkeypatch.setattr(study, "run_study", run_study)
    return found


def test_options_reach_the_study(called: dict[str, Any]) -> None:
    options = ["--processes", "3", "--threads", "2", "--gpus", "1", "--scheduler", "tcp://a:1", "--overlays", "mine"]
    sets = ["--set", "epochs=2", "--set", "image_size=[64, 64]", "--set", "encoder_weights=a=b.pt"]
    with pytest.raises(SystemExit) as raised:
        main(["study", "grid.yaml", "--dataset_dir", "DATA", "--out", "OUT", *options, *sets])
    assert raised.value.code == 1  # not all cells are finished
    assert called["arguments"] == ("grid.yaml", "DATA", "OUT", Resources(3, 2, 1, "tcp://a:1"))
    assert called["overrides"] == {"epochs": 2, "image_size": [64, 64], "encoder_weights": "a=b.pt"}
    assert (called["overlays_dir"], called["run"]) == ("mine", True)


def test_tables_of_an_unfinished_study_are_no_failure(called: dict[str, Any]) -> None:
    main(["study", "grid.yaml", "--dataset-dir", "DATA", "--out", "OUT", "--tables-only"])
    assert called["run"] is False


@pytest.mark.parametrize("text", ["epochs", "epochs=[1"], ids=["no value", "no YAML"])
def test_a_malformed_setting_is_refused(text: str) -> None:
    with pytest.raises(SystemExit, match=rf"i2net: --set {text}".replace("[", r"\[")):
        main(["study", str(SMOKE), "--dataset_dir", "DATA", "--out", "OUT", "--set", text])


def test_a_data_set_that_is_not_there_is_refused_and_no_cell_is_made(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"i2net: No dataset\.json in "):
        main(["study", str(SMOKE), "--dataset_dir", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "cells").exists()


def test_no_processes_are_refused(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["study", str(SMOKE), "--dataset_dir", "DATA", "--out", "OUT", "--processes", "0"])
    assert "0 is not a whole number from 1" in capsys.readouterr().err
