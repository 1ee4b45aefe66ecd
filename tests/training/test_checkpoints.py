"""A run can be killed at any time and resumed with the same result."""

from __future__ import annotations

import copy
import csv
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events

from i2net_bundle.training import InitialWeights
from i2net_bundle.training.trainer import WorkerLostError
from i2net_bundle.workflow.run_folders import checkpoints
from i2net_bundle.workflow.stopping import Stopped
from tests.training.runs import KilledError, Run, assert_equal, load, load_checkpoint, run_maker

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def make_run(tmp_path_factory: pytest.TempPathFactory, make_network: Make, make_trainer: Make) -> Callable[..., Run]:
    return run_maker(tmp_path_factory.mktemp("ct"), make_network, make_trainer)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def record(output_dir: Path) -> list[dict[str, str]]:
    """Rows of training.csv without the seconds."""
    with (output_dir / "training.csv").open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture
def uninterrupted(make_run: Make, tmp_path: Path) -> Run:
    """A run of 4 epochs of 3 iterations in `tmp_path`/whole."""
    run = make_run(tmp_path / "whole")
    run.trainer.run()
    return run


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


def test_checkpoints_hold_batch_normalisation_momentum_and_schedule(uninterrupted: Run, tmp_path: Path) -> None:
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


def test_a_new_run_starts_from_pretrained_encoder_weights(make_run: Make, make_network: Make, tmp_path: Path) -> None:
    pretrained = make_network(seed=11, num_classes=9).encoder.state_dict()
    torch.save(pretrained, tmp_path / "encoder.pt")
    run = make_run(tmp_path / "run", encoder_weights=tmp_path / "encoder.pt")
    loaded: list[Any] = []
    run.trainer.add_event_handler(
        Events.EPOCH_STARTED(once=1), lambda: loaded.append(copy.deepcopy(dict(run.network.encoder.state_dict())))
    )
    run.trainer.run()
    assert_equal(loaded[0], dict(pretrained))


def test_a_resumed_run_does_not_read_pretrained_encoder_weights(make_run: Make, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        make_run(tmp_path, kill_at=7).trainer.run()
    make_run(tmp_path, resume=True, encoder_weights=tmp_path / "gone.pt").trainer.run()
    assert (tmp_path / "checkpoints" / "epoch_0004.pt").exists()


def test_a_new_run_starts_from_weights_of_other_classes(make_run: Make, make_network: Make, tmp_path: Path) -> None:
    other = make_network(seed=11, num_classes=4).state_dict()
    torch.save(other, tmp_path / "other.pt")
    run = make_run(tmp_path / "run", init_weights=tmp_path / "other.pt", encoder_weights=tmp_path / "not_read.pt")
    head = run.network.head.conv.weight.clone()
    loaded: list[Any] = []
    run.trainer.add_event_handler(
        Events.EPOCH_STARTED(once=1), lambda: loaded.append(copy.deepcopy(dict(run.network.state_dict())))
    )
    run.trainer.run()
    for name, value in loaded[0].items():
        if not name.startswith("head.conv"):
            assert torch.equal(value, other[name]), name
    assert torch.equal(loaded[0]["head.conv.weight"], head)


def test_encoder_weights_of_a_network_without_encoder_are_refused() -> None:
    with pytest.raises(ValueError, match="Conv2d has no 'encoder' to fill"):
        InitialWeights(torch.nn.Conv2d(1, 1, 1), encoder_weights="imagenet")


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


class TestFailingSave:
    """A save that fails, as on a full disk."""

    @pytest.fixture
    def break_off(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
        """Let the n-th call of torch.save from now on, and all later ones, write a little and fail."""
        save = torch.save

        def arrange(call: int) -> None:
            count = iter(range(1, 1000))

            def half_save(contents: Any, file: Any, **options: Any) -> None:
                if next(count) < call:
                    return save(contents, file, **options)
                if isinstance(file, (str, Path)):
                    Path(file).write_bytes(b"half a file")
                else:
                    file.write(b"half a file")
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(torch, "save", half_save)

        return arrange

    @pytest.mark.parametrize("call", [1, 2, 3], ids=["weights on resuming", "checkpoint", "weights"])
    def test_keeps_the_previous_files_and_leaves_nothing_else(
        self, make_run: Make, tmp_path: Path, break_off: Callable[[int], None], call: int
    ) -> None:
        with pytest.raises(KilledError):
            make_run(tmp_path, kill_at=7).trainer.run()
        files = [path for path in tmp_path.rglob("*.pt")]
        before = {path: path.read_bytes() for path in files}
        assert len(before) == 3  # two checkpoints and model.pt
        break_off(call)
        with pytest.raises(OSError, match="was not written: the disk is full"):
            make_run(tmp_path, resume=True).trainer.run()
        assert all(path.read_bytes() == contents for path, contents in before.items() if path.exists())
        assert (tmp_path / "checkpoints" / "epoch_0002.pt").exists()
        assert all(path.suffix == ".pt" for path in (tmp_path / "checkpoints").iterdir())
        for path in tmp_path.rglob("*.pt"):
            load(path)

    def test_can_be_resumed_to_the_same_weights(
        self,
        make_run: Make,
        uninterrupted: Run,
        tmp_path: Path,
        break_off: Callable[[int], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        break_off(4)  # the weights of epoch 2
        with pytest.raises(OSError, match="was not written: the disk is full"):
            make_run(tmp_path / "broken").trainer.run()
        monkeypatch.undo()
        make_run(tmp_path / "broken", resume=True).trainer.run()
        assert_equal(load(tmp_path / "broken" / "model.pt"), load(tmp_path / "whole" / "model.pt"))


class TestDamagedCheckpoints:
    """A checkpoint that cannot be used is named, and the one before it takes its place."""

    @pytest.fixture
    def killed(self, make_run: Make, tmp_path: Path) -> Path:
        """A run of which epochs 1 to 3 are saved."""
        with pytest.raises(KilledError):
            make_run(tmp_path / "killed", kill_at=11).trainer.run()
        return tmp_path / "killed"

    @pytest.mark.parametrize(
        ("damage", "named"),
        [
            (lambda path: path.write_bytes(b""), "epoch_0003.pt cannot be used: it is empty"),
            (lambda path: flip_a_bit(path), "epoch_0003.pt cannot be used: it is damaged: it does not match its SHA"),
            (lambda path: path.write_bytes(path.read_bytes()[:-500]), "epoch_0003.pt cannot be used: it is truncated"),
            (lambda path: torch.save({"a": torch.zeros(1)}, path), "epoch_0003.pt cannot be used: it is no checkpoint"),
            (lambda path: path.unlink(), "has epoch 3, but .*epoch_0003.pt is missing.*Resuming from .*epoch_0002.pt"),
        ],
        ids=["empty", "flipped bit", "truncated", "weights", "missing"],
    )
    def test_the_one_before_it_continues_to_the_same_weights(
        self,
        make_run: Make,
        uninterrupted: Run,
        killed: Path,
        tmp_path: Path,
        damage: Callable[[Path], Any],
        named: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        damage(killed / "checkpoints" / "epoch_0003.pt")
        make_run(killed, resume=True).trainer.run()
        assert re.search(named, caplog.text)
        assert_equal(load(killed / "model.pt"), load(tmp_path / "whole" / "model.pt"))
        assert record(killed) == record(tmp_path / "whole")
        assert names_in(killed / "checkpoints") == ["epoch_0003.pt", "epoch_0004.pt"]

    def test_an_undamaged_run_resumes_without_a_warning(
        self, make_run: Make, killed: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        make_run(killed, resume=True).trainer.run()
        assert not [entry for entry in caplog.records if entry.levelname == "WARNING"]

    def test_without_any_usable_checkpoint_the_error_leads_to_another_folder(
        self, make_run: Make, killed: Path
    ) -> None:
        for path in (killed / "checkpoints").iterdir():
            path.write_bytes(b"")
        with pytest.raises(
            ValueError, match=r"epoch_0003\.pt .*epoch_0002\.pt .*Train in another --output_dir"
        ) as error:
            make_run(killed, resume=True).trainer.run()
        assert "--resume" not in str(error.value)

    def test_a_kill_between_checkpoint_and_weights_leaves_no_old_weights(
        self, make_run: Make, uninterrupted: Run, tmp_path: Path
    ) -> None:
        weights = tmp_path / "whole" / "model.pt"
        expected = load(weights)
        torch.save({}, weights)
        make_run(tmp_path / "whole", resume=True).trainer.run()
        assert_equal(load(weights), expected)

    def test_a_checkpoint_of_another_version_is_named(self, make_run: Make, killed: Path) -> None:
        path = killed / "checkpoints" / "epoch_0003.pt"
        contents = load(path)
        del contents["record"]
        torch.save(contents, path)
        with pytest.raises(ValueError, match=r"epoch_0003\.pt lacks record: another version"):
            make_run(killed, resume=True).trainer.run()


class TestStopping:
    """SIGTERM and SIGINT stop a run between two steps, anywhere, and it ends with the same weights."""

    @pytest.fixture(autouse=True)
    def interruptible(self) -> Iterator[None]:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

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


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


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


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_killed_data_loading_process_names_its_slice(make_run: Make, tmp_path: Path, num_workers: int) -> None:
    run = make_run(tmp_path, num_workers=num_workers)
    dataset = run.trainer.data_loader.dataset

    class Deadly:
        """Kills the process that reads slice 7."""

        def __init__(self, slices: Any) -> None:
            self.slices = slices

        def __len__(self) -> int:
            return len(self.slices)

        def __getitem__(self, index: int) -> Any:
            if index == 7:
                os.kill(os.getpid(), signal.SIGKILL)
            return self.slices[index]

    dataset.cases = [Deadly(slices) for slices in dataset.cases]
    reported = r"was killed while it read .*\[7\], after iteration \d.* lower num_workers .*continue with --resume true"
    with pytest.raises(WorkerLostError, match=reported):
        run.trainer.run()
