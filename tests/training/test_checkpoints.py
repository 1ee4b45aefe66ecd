"""A run can be killed at any time and resumed with the same result."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events

from i2net_bundle.workflow.run_folders import checkpoints
from tests.training.runs import (
    KilledError,
    Make,
    Run,
    assert_equal,
    load,
    load_checkpoint,
    names_in,
    record,
)


@pytest.mark.parametrize("kill_at", [7, 6, 10], ids=["in epoch 3", "before epoch 2 is saved", "in epoch 4"])
def test_a_killed_run_resumes_to_the_same_weights_and_the_same_record(
    make_run: Make, uninterrupted: Run, tmp_path: Path, kill_at: int
) -> None:
    with pytest.raises(KilledError):
        make_run(tmp_path / "killed", kill_at=kill_at).trainer.run()
    resumed = make_run(tmp_path / "killed", resume=True)
    resumed.trainer.run()
    assert resumed.trainer.state.iteration == uninterrupted.trainer.state.iteration == 12
    assert_equal(load(tmp_path / "killed" / "model.pt"), load(tmp_path / "whole" / "model.pt"))
    assert_equal(*(load_checkpoint(tmp_path / name / "checkpoints" / "epoch_0004.pt") for name in ("killed", "whole")))
    assert record(tmp_path / "killed") == record(tmp_path / "whole")
    assert [row["epoch"] for row in record(tmp_path / "killed")] == ["1", "2", "3", "4"]


def test_the_comparison_detects_a_run_with_other_initial_weights(
    make_run: Make, uninterrupted: Run, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "other", resume=False)
    with torch.no_grad():
        next(run.network.parameters()).mul_(1.001)
    run.trainer.run()
    with pytest.raises(AssertionError):
        assert_equal(load(tmp_path / "other" / "model.pt"), load(tmp_path / "whole" / "model.pt"))


def test_checkpoints_contain_batch_normalisation_momentum_and_schedule(uninterrupted: Run, tmp_path: Path) -> None:
    contents = load(tmp_path / "whole" / "checkpoints" / "epoch_0004.pt")
    assert contents.keys() >= {"network", "optimizer", "lr_scheduler", "average", "trainer", "best", "record"}
    assert contents["network"]["encoder.stem.1.num_batches_tracked"] == 12
    assert all(state["momentum_buffer"].abs().sum() > 0 for state in contents["optimizer"]["state"].values())
    assert contents["lr_scheduler"]["last_epoch"] == 12


def test_the_learning_rate_follows_the_poly_schedule_over_both_parts(
    make_run: Make, uninterrupted: Run, tmp_path: Path
) -> None:
    # recorded when the epoch begins
    expected = [0.05 * (1 - epoch * 3 / 12) ** 0.9 for epoch in range(4)]
    assert [float(row["learning_rate"]) for row in record(tmp_path / "whole")] == pytest.approx(expected, abs=1e-6)


def test_a_run_is_not_resumed_with_more_epochs_by_accident(make_run: Make, tmp_path: Path) -> None:
    make_run(tmp_path, max_epochs=2).trainer.run()
    with pytest.raises(ValueError, match=r"run of 2 epochs, this one has 4\. .*--resume true --extend true"):
        make_run(tmp_path, max_epochs=4, resume=True).trainer.run()
    with pytest.raises(ValueError, match="run of 2 epochs, this one has 1"):
        make_run(tmp_path, max_epochs=1, resume=True, extend=True).trainer.run()


def test_a_finished_run_is_extended_on_purpose_with_the_schedule_of_the_longer_run(
    make_run: Make, uninterrupted: Run, tmp_path: Path
) -> None:
    make_run(tmp_path / "short", max_epochs=2).trainer.run()
    extended = make_run(tmp_path / "short", max_epochs=4, resume=True, extend=True)
    extended.trainer.run()
    assert extended.trainer.state.iteration == 12
    rates = [[float(row["learning_rate"]) for row in record(tmp_path / name)] for name in ("short", "whole")]
    assert rates[0][2:] == rates[1][2:] and rates[0][1] != rates[1][1]
    again = make_run(tmp_path / "short", max_epochs=4, resume=True)
    again.trainer.run()
    assert again.trainer.state.epoch == 4


def test_extending_without_resuming_is_refused(make_run: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="add --resume true"):
        make_run(tmp_path, extend=True)


def test_a_run_is_not_resumed_with_another_batch_size(make_run: Make, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        make_run(tmp_path, kill_at=7).trainer.run()  # 3 batches an epoch
    with pytest.raises(ValueError, match=r"run of 3 iterations per epoch, this one has 6\. .*same batch_size"):
        make_run(tmp_path, resume=True, batch_size=2).trainer.run()


def test_a_run_is_not_resumed_with_settings_that_change_its_result(make_run: Make, tmp_path: Path) -> None:
    settings = {"optimizer::momentum": "0.9", "training case 1": "abc"}
    with pytest.raises(KilledError):
        make_run(tmp_path, kill_at=7, settings=settings).trainer.run()
    other = settings | {"optimizer::momentum": "0.5"}
    with pytest.raises(
        ValueError, match=r"epoch_0002\.pt was trained with optimizer::momentum 0\.9, here 0\.5\. Resume"
    ):
        make_run(tmp_path, resume=True, settings=other).trainer.run()
    make_run(tmp_path, resume=True, settings=settings).trainer.run()


def test_resuming_a_finished_run_changes_nothing(make_run: Make, uninterrupted: Run, tmp_path: Path) -> None:
    before = load(tmp_path / "whole" / "model.pt")
    resumed = make_run(tmp_path / "whole", resume=True)
    resumed.trainer.run()
    assert resumed.trainer.state.epoch == 4
    assert_equal(resumed.network.state_dict(), before)
    assert len(record(tmp_path / "whole")) == 4


def test_plain_weights_load_strictly_into_a_fresh_network(
    make_network: Make, uninterrupted: Run, tmp_path: Path
) -> None:
    fresh = make_network(seed=3, num_classes=9)
    fresh.load_state_dict(load(tmp_path / "whole" / "model.pt"), strict=True)
    assert_equal(dict(fresh.state_dict()), dict(uninterrupted.network.state_dict()))


def test_the_last_two_checkpoints_are_kept(uninterrupted: Run, tmp_path: Path) -> None:
    assert names_in(tmp_path / "whole" / "checkpoints") == ["epoch_0003.pt", "epoch_0004.pt"]


def test_the_last_two_checkpoints_are_kept_also_after_a_resume(make_run: Make, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        make_run(tmp_path, kill_at=7).trainer.run()
    make_run(tmp_path, resume=True).trainer.run()
    assert names_in(tmp_path / "checkpoints") == ["epoch_0003.pt", "epoch_0004.pt"]


def test_an_interval_saves_every_so_many_epochs_and_at_the_end(make_run: Make, tmp_path: Path) -> None:
    saved: list[list[str]] = []
    (tmp_path / "checkpoints").mkdir()
    run = make_run(tmp_path, max_epochs=5, interval=2)
    run.trainer.add_event_handler(Events.EPOCH_STARTED, lambda: saved.append(names_in(tmp_path / "checkpoints")))
    run.trainer.run()
    saved.append(names_in(tmp_path / "checkpoints"))
    first, second, last = "epoch_0002.pt", "epoch_0004.pt", "epoch_0005.pt"
    assert saved == [[], [], [first], [first], [first, second], [second, last]]


@pytest.mark.parametrize(
    ("names", "newest"),
    [
        (["epoch_0002.pt", "epoch_0010.pt"], "epoch_0010.pt"),
        (["epoch_2.pt", "epoch_10.pt"], "epoch_10.pt"),
        (["epoch_9999.pt", "epoch_10000.pt"], "epoch_10000.pt"),
        (["epoch_0003.pt", "notes.pt", "tmpab12"], "epoch_0003.pt"),
        (["epoch_0003.pt", "epoch_0004_stopped.pt"], "epoch_0004_stopped.pt"),
        (["epoch_0004.pt", "epoch_0004_stopped.pt"], "epoch_0004.pt"),
    ],
    ids=["padded", "bare", "past four digits", "beside other files", "stopped after it", "stopped before it"],
)
def test_the_newest_checkpoint_has_the_highest_number(names: list[str], newest: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in names:
        (tmp_path / "checkpoints" / name).touch()
    assert checkpoints(tmp_path)[0].name == newest


class TestBest:
    """model_best.pt, also in a resumed run."""

    def test_the_best_epoch_is_kept_and_ties_keep_the_first(self, make_run: Make, tmp_path: Path) -> None:
        run = make_run(tmp_path, scores={1: 0.5, 2: 0.7, 3: 0.7, 4: 0.6})
        weights: list[Any] = []
        run.trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda: weights.append(copy.deepcopy(run.network.state_dict()))
        )
        run.trainer.run()
        assert_equal(load(tmp_path / "model_best.pt"), dict(weights[1]))

    @pytest.mark.parametrize(
        ("scores", "best"), [({3: 0.6, 4: 0.65}, 2), ({3: 0.8, 4: 0.6}, 3)], ids=["worse", "better"]
    )
    def test_a_resumed_run_replaces_the_best_only_by_a_better_one(
        self, make_run: Make, tmp_path: Path, scores: dict[int, float], best: int
    ) -> None:
        scores = {1: 0.5, 2: 0.7, **scores}
        with pytest.raises(KilledError):
            make_run(tmp_path, kill_at=7, scores=scores).trainer.run()
        second = load(tmp_path / "model_best.pt")
        resumed = make_run(tmp_path, resume=True, scores=scores)
        weights: dict[int, Any] = {2: second}
        resumed.trainer.add_event_handler(
            Events.EPOCH_COMPLETED,
            lambda engine: weights.update({engine.state.epoch: copy.deepcopy(dict(resumed.network.state_dict()))}),
        )
        resumed.trainer.run()
        assert_equal(load(tmp_path / "model_best.pt"), weights[best])

    def test_epochs_without_validation_and_undefined_scores_choose_nothing(
        self, make_run: Make, tmp_path: Path
    ) -> None:
        make_run(tmp_path, scores={2: float("nan")}).trainer.run()
        assert not (tmp_path / "model_best.pt").exists()
        contents = load(tmp_path / "checkpoints" / "epoch_0004.pt")
        assert contents["best"] == {"metric": float("-inf"), "epoch": 0}


class TestRefusals:
    """Resuming without a run, or with another network."""

    def test_the_handler_refuses_to_resume_without_a_checkpoint(self, make_run: Make, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="cannot be resumed: it has no checkpoint"):
            make_run(tmp_path, resume=True).trainer.run()

    def test_a_checkpoint_of_another_network_is_refused(
        self, make_run: Make, make_network: Make, uninterrupted: Run, tmp_path: Path
    ) -> None:
        checkpoint = tmp_path / "whole" / "checkpoints" / "epoch_0004.pt"
        other = {**load(checkpoint), "network": make_network(num_learners=3, num_classes=9).state_dict()}
        torch.save(other, checkpoint)
        with pytest.raises(RuntimeError, match="size mismatch"):
            make_run(tmp_path / "whole", resume=True).trainer.run()
