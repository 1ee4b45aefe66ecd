"""One cell: what it runs, what it leaves, and what it refuses."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from i2net_bundle.studies.cells import (
    FAILED,
    FINISHED,
    STOPPED,
    CellSettingsError,
    is_finished,
    last_line,
    require_same_settings,
    run_cell,
)
from tests.studies.fake_cells import FAIL, TRAIN, fake_cell, write_scores


def test_a_cell_trains_and_evaluates_in_its_folder(tmp_path: Path) -> None:
    cell = fake_cell(tmp_path, "i2net")
    assert not is_finished(cell)
    assert run_cell(cell, {}).status == FINISHED
    assert is_finished(cell)
    assert json.loads((cell.folder / "train_overlay.json").read_text()) == {"seed": 0}
    assert (cell.folder / "steps.txt").read_text() == "started "


def test_a_finished_cell_is_not_run_again(tmp_path: Path) -> None:
    cell = fake_cell(tmp_path, "i2net")
    run_cell(cell, {})
    assert run_cell(cell, {}).status == FINISHED
    assert (cell.folder / "steps.txt").read_text() == "started "


def test_a_cell_with_a_checkpoint_is_resumed(tmp_path: Path) -> None:
    cell = fake_cell(
        tmp_path,
        "i2net",
        train=TRAIN.replace(
            '(folder / "model.pt")', "sys.exit(9) if '--resume' not in sys.argv else (folder / 'model.pt')"
        ),
    )
    assert run_cell(cell, {}).status == FAILED
    assert run_cell(cell, {}).status == FINISHED
    assert (cell.folder / "steps.txt").read_text() == "started resumed "


def test_a_trained_cell_whose_evaluation_failed_is_only_evaluated_again(tmp_path: Path) -> None:
    cell = fake_cell(tmp_path, "i2net")
    broken = replace(cell, evaluate_command=(sys.executable, "-c", FAIL))
    assert run_cell(broken, {}).status == FAILED
    assert run_cell(cell, {}).status == FINISHED
    assert (cell.folder / "steps.txt").read_text() == "started "


def test_an_evaluation_that_lacks_a_case_is_a_failure(tmp_path: Path) -> None:
    cell = fake_cell(tmp_path, "i2net")
    outcome = run_cell(replace(cell, scored=("a", "b", "c")), {})
    assert outcome.status == FAILED


def test_a_failure_is_reported_with_the_last_line_of_the_log(tmp_path: Path) -> None:
    outcome = run_cell(fake_cell(tmp_path, "i2net", train=FAIL), {})
    assert (outcome.status, outcome.message) == (FAILED, "Error: no such weights")


def test_the_last_line_of_a_log_skips_blank_lines_and_progress_bars(tmp_path: Path) -> None:
    log = tmp_path / "cell.log"
    log.write_bytes(b"one\n50%\r100%\rdone\xff\n \n\n")
    assert last_line(log) == "done\ufffd"
    assert last_line(tmp_path / "none") == ""


def test_the_environment_reaches_the_workflows(tmp_path: Path) -> None:
    script = "import os, sys; sys.exit('threads ' + os.environ['OMP_NUM_THREADS'])"
    outcome = run_cell(fake_cell(tmp_path, "i2net", train=script), {"OMP_NUM_THREADS": "3"})
    assert outcome.message == "threads 3"


def test_other_settings_than_those_of_the_run_are_refused(tmp_path: Path) -> None:
    cell = fake_cell(tmp_path, "i2net", record={"epochs": 2, "loss::k": [1, 2]})
    run_cell(cell, {})
    require_same_settings(cell)
    other = replace(cell, record={"epochs": 3, "amp": True, "loss::k": [1, 2]})
    with pytest.raises(
        CellSettingsError, match=r"cell\.json: the cell was run with epochs 2, here 3; amp unset, here true"
    ):
        require_same_settings(other)


def test_a_run_that_no_study_made_is_refused(tmp_path: Path) -> None:
    cell = fake_cell(tmp_path, "i2net")
    (cell.folder / "evaluation").mkdir(parents=True)
    with pytest.raises(CellSettingsError, match=r"contains a run without cell\.json, so its settings are unknown"):
        require_same_settings(cell)


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    cell = fake_cell(tmp_path, "i2net")
    cell.folder.mkdir(parents=True)
    (cell.folder / "cell.json").write_text("{")
    with pytest.raises(CellSettingsError, match=r"cell\.json is damaged"):
        require_same_settings(cell)


def test_a_stop_reaches_the_workflow_and_the_cell_can_be_continued(tmp_path: Path) -> None:
    cell = fake_cell(tmp_path, "i2net", seconds=60)
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(run_cell(cell, {})))
    thread.start()
    wait_for(cell.folder / "checkpoints")
    cell.stop_file.touch()
    thread.join(20)
    assert [outcome.status for outcome in outcomes] == [STOPPED]
    assert run_cell(cell, {}).status == STOPPED  # as long as the file is there, nothing starts
    cell.stop_file.unlink()
    assert run_cell(fake_cell(tmp_path, "i2net"), {}).status == FINISHED
    assert (cell.folder / "steps.txt").read_text() == "started resumed "


def test_the_workflow_of_a_killed_study_is_waited_for(tmp_path: Path) -> None:
    cell = fake_cell(tmp_path, "i2net")
    cell.folder.mkdir(parents=True)
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2)"])
    created = psutil.Process(orphan.pid).create_time()
    owner = {"pid": orphan.pid, "host": socket.gethostname(), "created": created}
    (cell.folder / ".process.json").write_text(json.dumps(owner))
    started = time.monotonic()
    assert run_cell(cell, {}).status == FINISHED
    assert time.monotonic() - started > 1
    assert orphan.wait(1) == 0


def test_another_process_that_got_the_same_number_is_not_waited_for(tmp_path: Path) -> None:
    cell = fake_cell(tmp_path, "i2net")
    cell.folder.mkdir(parents=True)
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "created": 12.0}
    (cell.folder / ".process.json").write_text(json.dumps(owner))
    assert run_cell(cell, {}).status == FINISHED


def test_a_damaged_table_of_scores_is_not_finished(tmp_path: Path) -> None:
    cell = fake_cell(tmp_path, "i2net")
    write_scores(cell, [{"case": "a", "class": "gland", "strict_dice": 1}])
    assert not is_finished(cell)  # b is missing
    (cell.folder / "evaluation" / "metrics.csv").write_text("nonsense")
    assert not is_finished(cell)


def wait_for(path: Path, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.05)
