"""The training record: one row per epoch, cut at the epoch that a run resumes from."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from i2net_bundle.training import LossProgressBar, SegmentationTrainer, TrainingRecord
from i2net_bundle.training.trainer import TERMS
from tests.training.runs import Make


@pytest.fixture
def make_recorded(make_network: Make, make_batches: Make, make_trainer: Make) -> Callable[..., SegmentationTrainer]:
    """Build a trainer of 3 batches with a record in a folder."""

    def make(
        output_dir: Path, max_epochs: int = 2, state: dict[str, Any] | None = None, scores: dict[int, Any] | None = None
    ) -> SegmentationTrainer:
        network = make_network()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.125)
        trainer = make_trainer(network, make_batches(3), optimizer, max_epochs=max_epochs)
        validator = SimpleNamespace(state=SimpleNamespace(epoch=0, metrics={}))

        def resume(engine: SegmentationTrainer) -> None:
            if state is not None:
                engine.state.epoch = len(state["rows"])
                engine.state.iteration = 3 * engine.state.epoch + state["counts"].get("loss", 0)

        def validate(engine: SegmentationTrainer) -> None:
            if engine.state.epoch in (scores or {}):
                validator.state.epoch, validator.state.metrics = engine.state.epoch, scores[engine.state.epoch]

        trainer.add_event_handler(Events.STARTED, resume)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
        record = TrainingRecord(output_dir, optimizer, None if scores is None else validator)
        if state is not None:
            record.load_state_dict(state)
        record.attach(trainer)
        trainer.record = record
        return trainer

    return make


def states_of(trainer: Any) -> list[dict[str, Any]]:
    """Run a trainer; return the record's state after each epoch."""
    found: list[dict[str, Any]] = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: found.append(trainer.record.state_dict()))
    trainer.run()
    return found


def read_rows(output_dir: Path) -> list[dict[str, str]]:
    with (output_dir / "training.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_rows_contain_the_mean_of_every_term_over_the_epoch(make_recorded: Make, tmp_path: Path) -> None:
    trainer, terms = make_recorded(tmp_path), []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: terms.append({k: v.item() for k, v in e.state.output[TERMS].items()})
    )
    trainer.run()
    rows = read_rows(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row, epoch in zip(rows, (terms[:3], terms[3:]), strict=True):
        means = {name: sum(t[name] for t in epoch) / 3 for name in epoch[0]}
        assert row.keys() == {"epoch", "seconds", "learning_rate", "steps", *means}
        assert {name: float(row[name]) for name in means} == pytest.approx(means, rel=1e-5)
        assert float(row["learning_rate"]) == 0.125
        assert float(row["seconds"]) > 0
    assert rows[0]["loss"] != rows[1]["loss"]


def test_rows_are_there_after_each_epoch_and_not_only_at_the_end(make_recorded: Make, tmp_path: Path) -> None:
    trainer, counts = make_recorded(tmp_path), []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: counts.append(len(read_rows(tmp_path))))
    trainer.run()
    assert counts == [1, 2]


def test_epochs_without_validation_leave_its_columns_empty(make_recorded: Make, tmp_path: Path) -> None:
    make_recorded(tmp_path, max_epochs=3, scores={2: {"mean_dice": 0.5, "mean_hd95": float("nan")}}).run()
    found = [(row["val_mean_dice"], row["val_mean_hd95"]) for row in read_rows(tmp_path)]
    assert found == [("", ""), ("0.5", "nan"), ("", "")]


def test_a_resumed_run_cuts_the_rows_after_the_epoch_it_resumes_from(make_recorded: Make, tmp_path: Path) -> None:
    state = states_of(make_recorded(tmp_path, max_epochs=4))[1]
    before = read_rows(tmp_path)
    make_recorded(tmp_path, state=state, max_epochs=3).run()
    after = read_rows(tmp_path)
    assert [row["epoch"] for row in after] == ["1", "2", "3"]
    assert after[:2] == before[:2]
    assert after[2]["loss"] != before[2]["loss"]


@pytest.mark.parametrize("content", [None, b"", b"\x00\xff not a table", b"epoch,loss\n"], ids=str)
def test_a_damaged_table_is_written_again_when_a_run_is_resumed(
    make_recorded: Make, tmp_path: Path, content: bytes | None
) -> None:
    state = states_of(make_recorded(tmp_path, max_epochs=2))[1]
    before, path = read_rows(tmp_path), tmp_path / "training.csv"
    path.unlink() if content is None else path.write_bytes(content)
    make_recorded(tmp_path, state=state, max_epochs=2).run()
    assert read_rows(tmp_path) == before


def test_a_state_within_an_epoch_continues_its_means(make_recorded: Make, tmp_path: Path) -> None:
    record = TrainingRecord(tmp_path, torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.125))
    record.load_state_dict(
        {"rows": [], "sums": {"loss": 30.0}, "counts": {"loss": 2}, "learning_rate": 0.5, "seconds": 100.0}
    )
    record.started = time.perf_counter()
    record.writer = SummaryWriter(str(tmp_path))
    record._start_epoch(SimpleNamespace(state=SimpleNamespace()))
    record._add(
        SimpleNamespace(state=SimpleNamespace(output={TERMS: {"loss": torch.tensor(3.0)}, "loss": 3.0}, iteration=3))
    )
    record._finish_epoch(SimpleNamespace(state=SimpleNamespace(epoch=1, max_epochs=1, iteration=3)))
    [row] = read_rows(tmp_path)
    assert (row["loss"], row["learning_rate"]) == ("11", "0.5")
    assert float(row["seconds"]) >= 100


def test_a_resumed_run_keeps_validation_columns_of_earlier_epochs(make_recorded: Make, tmp_path: Path) -> None:
    state = states_of(make_recorded(tmp_path, max_epochs=2, scores={1: {"mean_dice": 0.5}}))[1]
    make_recorded(tmp_path, state=state, max_epochs=3).run()
    assert [row["val_mean_dice"] for row in read_rows(tmp_path)] == ["0.5", "", ""]


def test_a_new_run_discards_the_rows_of_another(make_recorded: Make, tmp_path: Path) -> None:
    for _ in range(2):
        make_recorded(tmp_path).run()
    assert [row["epoch"] for row in read_rows(tmp_path)] == ["1", "2"]


def test_tensorboard_contains_every_iteration_and_epoch_once_also_after_a_resume(
    make_recorded: Make, tmp_path: Path
) -> None:
    state = states_of(make_recorded(tmp_path, max_epochs=3, scores={1: {"mean_dice": 0.5}}))[1]
    time.sleep(1.1)  # event files are ordered by the second in their names
    make_recorded(tmp_path, state=state, max_epochs=4).run()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("iteration/loss")] == list(range(1, 13))
    assert [event.step for event in events.Scalars("epoch/loss")] == [3, 6, 9, 12]
    assert [(event.step, event.value) for event in events.Scalars("epoch/val_mean_dice")] == [(3, 0.5)]


def test_each_epoch_writes_one_log_line(make_recorded: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="i2net.training"):
        make_recorded(tmp_path).run()
    lines = [record.getMessage() for record in caplog.records if record.name == "i2net.training"]
    assert [line.split(":")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert all("loss" in line and "learning_rate 0.125" in line for line in lines)


def test_an_error_in_training_comes_through(make_recorded: Make, tmp_path: Path) -> None:
    trainer = make_recorded(tmp_path)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=5), raise_full)
    with pytest.raises(OSError, match="disk full"):
        trainer.run()
    assert [row["epoch"] for row in read_rows(tmp_path)] == ["1"]


def test_an_error_before_the_first_epoch_comes_through(make_recorded: Make, tmp_path: Path) -> None:
    trainer = make_recorded(tmp_path / "run")
    (tmp_path / "run").touch()  # the record cannot make its folder
    with pytest.raises(FileExistsError, match="run"):
        trainer.run()


def test_the_progress_bar_is_quiet_when_not_on_a_terminal(
    make_recorded: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trainer = make_recorded(tmp_path)
    LossProgressBar().attach(trainer)
    trainer.run()
    assert "training" not in capfd.readouterr().err


def raise_full() -> None:
    raise OSError("disk full")
