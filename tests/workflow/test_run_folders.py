"""No work starts in a folder that is in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from i2net_bundle.workflow import run_folders
from i2net_bundle.workflow.run_folders import check_output_dir, check_results_dir, set_run_aside


def test_a_run_is_not_started_over_another(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "epoch_0001.pt").touch()
    with pytest.raises(FileExistsError, match=rf"{tmp_path} already contains a training run.*--resume true"):
        check_output_dir(tmp_path, resume=False)


@pytest.mark.parametrize("resume", [True, False])
def test_weights_without_a_checkpoint_lead_to_another_folder_and_in_no_circle(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "model.pt").touch()
    with pytest.raises(
        OSError, match=r"no checkpoint, .* Set another --output_dir; --init_weights .*model\.pt"
    ) as error:
        check_output_dir(tmp_path, resume)
    assert "--resume" not in str(error.value)


@pytest.mark.parametrize("folder", ["empty", "absent"])
def test_work_starts_in_an_empty_or_absent_folder(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    check_output_dir(tmp_path / folder, resume=False)
    check_results_dir(tmp_path / folder, overwrite=False)


def test_a_run_with_a_checkpoint_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "epoch_0001.pt").touch()
    check_output_dir(tmp_path, resume=True)


def test_resuming_where_nothing_was_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"no run to resume in {tmp_path}. Start it without --resume true"):
        check_output_dir(tmp_path, resume=True)
    check_output_dir(tmp_path, resume=False)


def test_results_are_replaced_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "summary.json").touch()
    with pytest.raises(
        FileExistsError, match=rf"{tmp_path} already contains results.*--overwrite \(monai\.bundle: --overwrite true\)"
    ):
        check_results_dir(tmp_path, overwrite=False)
    check_results_dir(tmp_path, overwrite=True)


@pytest.mark.parametrize("check", [check_output_dir, check_results_dir], ids=["training", "results"])
def test_a_read_only_folder_is_refused_before_any_work(check: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        PermissionError,
        match=r"file is not writable \(.*\)\. Choose another output folder: --out of i2net, --output_dir of",
    ):
        check(tmp_path / "file" / "run", False)


def test_checking_whether_a_folder_is_writable_leaves_nothing(tmp_path: Path) -> None:
    check_output_dir(tmp_path / "a" / "b", False)
    assert not list(tmp_path.iterdir())


def test_results_are_not_written_into_the_installed_package() -> None:
    with pytest.raises(PermissionError, match="is inside the installed package"):
        check_output_dir(Path(run_folders.__file__).parent / "_bundle" / "runs", False)


def test_earlier_runs_are_renamed_in_their_order(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for content in ("first", "second"):
        run.mkdir()
        (run / "model.pt").write_text(content)
        set_run_aside(run, resume=False)
        check_output_dir(run, resume=False)
    assert {path.name: (path / "model.pt").read_text() for path in tmp_path.iterdir()} == {
        "run-1": "first",
        "run-2": "second",
    }


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_to_resume_and_a_folder_without_a_run_keep_their_names(resume: bool, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ("model.pt" if resume else "notes.txt")).touch()
    set_run_aside(tmp_path / "run", resume)
    set_run_aside(tmp_path / "absent", resume)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
