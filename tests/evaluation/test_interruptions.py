"""Evaluations that are stopped: no half result is called done, and the message says how to go on."""

from __future__ import annotations

import os
import signal
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import MetaTensor, list_data_collate
from monai.engines import SupervisedEvaluator
from monai.metrics import DiceMetric
from torch.utils.data import DataLoader

from i2net_bundle.evaluation import folders
from i2net_bundle.evaluation.classwise import ClasswiseMetric
from i2net_bundle.evaluation.folders import evaluate_folders
from i2net_bundle.evaluation.scores import SegmentationScores, WriteScores
from i2net_bundle.prediction import run_evaluator
from i2net_bundle.workflow.folder_lock import lock_folder, unlock_folder
from i2net_bundle.workflow.stopping import Stopped
from tests.evaluation.mask_files import LABEL, PRED, save

SIGNALS = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)


def evaluator(folder: Path) -> SupervisedEvaluator:
    """Three cases of one voxel row, each equal to its label."""
    items = []
    for name in "abc":
        voxels = torch.tensor([1, 1, 0, 0], dtype=torch.uint8).reshape(1, -1, 1, 1)
        meta = {"filename_or_obj": f"/somewhere/{name}.nii.gz"}
        items.append({"image": MetaTensor(voxels.float(), meta=meta), "label": MetaTensor(voxels, meta=meta)})
    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(items, batch_size=1, collate_fn=list_data_collate),
        network=torch.nn.Identity(),
        key_val_metric={"dice": ClasswiseMetric(DiceMetric(), 2)},
        additional_metrics={"scores": SegmentationScores(2)},
        val_handlers=[WriteScores(folder, ["background", "one"])],
    )


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@SIGNALS
def test_a_signal_leaves_the_scores_of_the_finished_cases_apart(number: int, code: int, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("of an evaluation that is replaced")
    engine = evaluator(tmp_path)
    with (
        engine.add_event_handler(Events.ITERATION_STARTED(once=2), send, number),
        pytest.raises(Stopped, match=r"2 of 3 cases are done.*with --overwrite true") as stopped,
    ):
        run_evaluator(engine, tmp_path)
    assert stopped.value.code == code
    assert {path.name for path in tmp_path.iterdir()} == {"metrics_partial.csv"}
    assert [line.split(",")[0] for line in (tmp_path / "metrics_partial.csv").read_text().splitlines()[1:]] == [
        "a",
        "b",
    ]
    run_evaluator(evaluator(tmp_path), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.csv", "summary.json"}


def test_a_signal_during_the_last_case_changes_nothing(tmp_path: Path) -> None:
    engine = evaluator(tmp_path)
    with engine.add_event_handler(Events.ITERATION_STARTED(once=3), send, signal.SIGTERM):
        run_evaluator(engine, tmp_path)
    assert (tmp_path / "summary.json").is_file()


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"Evaluation runs in one process, and WORLD_SIZE is 2\. .*without torchrun"):
        run_evaluator(evaluator(tmp_path), tmp_path)
    with pytest.raises(ValueError, match="Evaluation runs in one process"):
        evaluate_folders(tmp_path, tmp_path, tmp_path / "scores")
    assert list(tmp_path.iterdir()) == []


def test_the_lock_is_released_after_an_evaluation(tmp_path: Path) -> None:
    run_evaluator(evaluator(tmp_path), tmp_path)
    lock_folder(tmp_path)
    unlock_folder(tmp_path)


def scored(folder: Path, **options: Any) -> dict[str, Any]:
    """Score three masks of half a liver."""
    for number in (1, 2, 3):
        save(folder / "masks" / f"img000{number}_mask.nii.gz", PRED)
        save(folder / "labels" / f"label000{number}.nii.gz", LABEL)
    return evaluate_folders(folder / "masks", folder / "labels", folder / "scores", **options)


@SIGNALS
def test_scoring_folders_stops_between_two_cases_and_writes_nothing(
    number: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = folders._score_files

    def interrupted(*arguments: Any) -> Any:
        send(number)
        return score(*arguments)

    monkeypatch.setattr(folders, "_score_files", interrupted)
    with pytest.raises(Stopped, match=r"1 of 3 cases are scored, and no scores are written") as stopped:
        scored(tmp_path)
    assert stopped.value.code == code
    assert list((tmp_path / "scores").iterdir()) == []


def test_a_killed_scoring_process_names_its_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        """Its process is killed while it scores the second case."""

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def map(self, function: Any, *arguments: Any) -> Any:
            yield function(*(values[0] for values in arguments))
            raise BrokenProcessPool

    monkeypatch.setattr(folders, "scoring_pool", lambda num_workers: Pool())
    with pytest.raises(ChildProcessError, match=r"was killed.*while it scored 0002\. Use fewer processes"):
        scored(tmp_path, num_workers=1)
