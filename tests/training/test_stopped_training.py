"""Stopped runs, and runs whose data-loading process is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from i2net_bundle.training import trainer
from i2net_bundle.training.trainer import WorkerLostError
from i2net_bundle.workflow.run_folders import checkpoints
from i2net_bundle.workflow.stopping import Stopped
from tests.training.runs import (
    DeadlySlices,
    KilledError,
    Make,
    Run,
    assert_equal,
    load,
    load_checkpoint,
    names_in,
    record,
)


class TestStopping:
    """SIGTERM and SIGINT stop a run between two steps, anywhere, and it ends with the same weights."""

    def stop(self, run: Run, number: signal.Signals, at: int) -> pytest.ExceptionInfo[Stopped]:
        run.trainer.add_event_handler(Events.ITERATION_STARTED(once=at), lambda: os.kill(os.getpid(), number))
        with pytest.raises(Stopped) as stopped:
            run.trainer.run()
        return stopped

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize(
        ("at", "newest", "reported"),
        [
            (2, "epoch_0001_stopped.pt", "0 of 4 epochs and 2 of 3 iterations of the next one are done"),
            (6, "epoch_0002.pt", "2 of 4 epochs and 0 of 3 iterations"),
            (7, "epoch_0003_stopped.pt", "2 of 4 epochs and 1 of 3 iterations"),
        ],
        ids=["in the first epoch", "at the end of an epoch", "in an epoch"],
    )
    def test_a_stopped_run_resumes_within_the_epoch_to_the_same_weights_and_record(
        self,
        make_run: Make,
        uninterrupted: Run,
        tmp_path: Path,
        number: signal.Signals,
        at: int,
        newest: str,
        reported: str,
    ) -> None:
        folder = tmp_path / "stopped"
        stopped = self.stop(make_run(folder, weight_average=0.0), number, at)
        assert stopped.value.code == 128 + number
        assert reported in str(stopped.value) and "Continue with --resume true" in str(stopped.value)
        assert checkpoints(folder)[0].name == newest
        resumed = make_run(folder, resume=True)
        iterations: list[int] = []
        resumed.trainer.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine: iterations.append(engine.state.iteration)
        )
        resumed.trainer.run()
        assert iterations == list(range(at + 1, 13))
        assert_equal(load(folder / "model.pt"), load(tmp_path / "whole" / "model.pt"))
        assert_equal(
            *(load_checkpoint(tmp_path / name / "checkpoints" / "epoch_0004.pt") for name in ("stopped", "whole"))
        )
        assert record(folder) == record(tmp_path / "whole")
        assert names_in(folder / "checkpoints") == ["epoch_0003.pt", "epoch_0004.pt"]

    def test_worker_processes_also_continue_within_the_epoch(
        self, make_run: Make, uninterrupted: Run, tmp_path: Path
    ) -> None:
        self.stop(make_run(tmp_path / "stopped", num_workers=1), signal.SIGTERM, 8)
        make_run(tmp_path / "stopped", resume=True, num_workers=1).trainer.run()
        assert_equal(load(tmp_path / "stopped" / "model.pt"), load(tmp_path / "whole" / "model.pt"))

    def test_a_group_of_accumulated_gradients_is_completed_first(self, make_run: Make, tmp_path: Path) -> None:
        make_run(tmp_path / "whole", accumulation_steps=2).trainer.run()
        self.stop(make_run(tmp_path / "stopped", accumulation_steps=2), signal.SIGTERM, 7)
        assert load(tmp_path / "stopped" / "checkpoints" / "epoch_0003_stopped.pt")["trainer"]["iteration"] == 8
        make_run(tmp_path / "stopped", resume=True, accumulation_steps=2).trainer.run()
        assert_equal(load(tmp_path / "stopped" / "model.pt"), load(tmp_path / "whole" / "model.pt"))

    def test_a_signal_in_the_last_epoch_s_last_step_lets_the_run_complete(
        self, make_run: Make, uninterrupted: Run, tmp_path: Path
    ) -> None:
        run = make_run(tmp_path / "late")
        run.trainer.add_event_handler(Events.ITERATION_STARTED(once=12), lambda: os.kill(os.getpid(), signal.SIGTERM))
        run.trainer.run()
        assert_equal(load(tmp_path / "late" / "model.pt"), load(tmp_path / "whole" / "model.pt"))

    def test_random_layers_do_the_same_in_a_resumed_run(self, make_run: Make, tmp_path: Path) -> None:
        def with_dropout(run: Run) -> Run:
            run.network.encoder.stem.append(torch.nn.Dropout(0.5))
            return run

        with_dropout(make_run(tmp_path / "whole")).trainer.run()
        self.stop(with_dropout(make_run(tmp_path / "stopped")), signal.SIGTERM, 7)
        with_dropout(make_run(tmp_path / "stopped", resume=True)).trainer.run()
        assert_equal(load(tmp_path / "stopped" / "model.pt"), load(tmp_path / "whole" / "model.pt"))

    def test_a_kill_after_stopping_and_resuming_changes_nothing(
        self, make_run: Make, uninterrupted: Run, tmp_path: Path
    ) -> None:
        self.stop(make_run(tmp_path / "stopped"), signal.SIGTERM, 7)
        with pytest.raises(KilledError):
            make_run(tmp_path / "stopped", resume=True, kill_at=8).trainer.run()
        make_run(tmp_path / "stopped", resume=True).trainer.run()
        assert_equal(load(tmp_path / "stopped" / "model.pt"), load(tmp_path / "whole" / "model.pt"))
        assert record(tmp_path / "stopped") == record(tmp_path / "whole")


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_killed_data_loading_process_names_its_slice(make_run: Make, tmp_path: Path, num_workers: int) -> None:
    run = make_run(tmp_path, num_workers=num_workers)
    dataset = run.trainer.data_loader.dataset

    dataset.cases = [DeadlySlices(slices, 7) for slices in dataset.cases]
    reported = r"was killed while it read .*\[7\], after iteration \d.* lower num_workers .*continue with --resume true"
    with pytest.raises(WorkerLostError, match=reported):
        run.trainer.run()


def test_a_process_that_dies_while_it_sends_a_batch_is_named(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(iterator: _MultiProcessingDataLoaderIter) -> None:
        iterator._workers[0].kill()
        raise EOFError  # what unpickling a batch raises then; PyTorch raises it again if the process still looks alive

    run = make_run(tmp_path, num_workers=1)
    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_next_data", fails)
    with pytest.raises(WorkerLostError, match="A data-loading process was killed while it read"):
        run.trainer.run()


def test_other_errors_of_a_connection_are_raised_as_they_are(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(iterator: _MultiProcessingDataLoaderIter) -> None:
        raise ConnectionResetError("tracking server")

    run = make_run(tmp_path, num_workers=1)
    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_next_data", fails)
    monkeypatch.setattr(trainer, "_DYING_SECONDS", 0.1)
    with pytest.raises(ConnectionResetError, match="tracking server"):
        run.trainer.run()
