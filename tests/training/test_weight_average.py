"""The running average follows its formula, is free when off, and survives a killed run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from i2net_bundle.training import UpdateAverage, WeightAverage
from tests.training.runs import KilledError, Make, Run, assert_equal, load, load_checkpoint


def train(average: WeightAverage, tensor: torch.Tensor, values: Sequence[float]) -> list[float]:
    """Let an engine set ``tensor`` of the network to each value in turn; the average's counterpart after each."""
    names = [name for name, own in average.trained.state_dict().items() if own.data_ptr() == tensor.data_ptr()]
    found: list[float] = []

    def step(engine: Engine, value: float) -> None:
        with torch.no_grad():
            tensor.fill_(value)

    engine = Engine(step)
    UpdateAverage(average).attach(engine)
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: found.append(average.network.state_dict()[names[0]].item())
    )
    engine.run(list(values))
    return found


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        # the first is a copy; then a · decay + (1 - decay) · w
        (0.5, [1.0, 0.5 * 1 + 0.5 * 3, 0.5 * 2 + 0.5 * -5]),
        (0.75, [1.0, 0.75 * 1 + 0.25 * 3, 0.75 * 1.5 + 0.25 * -5]),
        (0.0, [1.0, 3.0, -5.0]),
    ],
    ids=["half", "three quarters", "off"],
)
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: nn.Linear(1, 1), "weight"),
        (lambda: nn.BatchNorm1d(1), "running_mean"),
        (lambda: nn.BatchNorm1d(1), "running_var"),
    ],
    ids=["weight", "running mean", "running variance"],
)
def test_the_average_starts_as_a_copy_and_then_decays(
    make: Callable[[], nn.Module], name: str, decay: float, expected: list[float]
) -> None:
    network = make()
    average = WeightAverage(network, decay)
    assert train(average, getattr(network, name), [1.0, 3.0, -5.0]) == pytest.approx(expected)
    assert getattr(network, name).item() == -5.0  # the network itself is left alone


def test_without_decay_the_network_itself_is_kept_and_not_copied() -> None:
    network = nn.Linear(2, 2)
    weights = copy.deepcopy(dict(network.state_dict()))
    average = WeightAverage(network)
    for _ in range(2):
        average.update()
    assert average.network is network
    assert average.average is None
    assert average.state_dict() == {"decay": 0.0, "average": None}
    assert_equal(dict(network.state_dict()), weights)


def test_the_averaged_network_shares_nothing_with_the_one_in_training(make_network: Make) -> None:
    network = make_network()
    average = WeightAverage(network, 0.9)
    places = [{tensor.data_ptr() for tensor in one.state_dict().values()} for one in (network, average.network)]
    assert places[0].isdisjoint(places[1])
    assert average.network.state_dict().keys() == network.state_dict().keys()


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5, 99.0, float("nan")])
def test_a_decay_outside_0_to_1_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=rf"weight_average must lie in \[0, 1\), got {decay}"):
        WeightAverage(nn.Linear(1, 1), decay)


def test_a_restored_average_continues() -> None:
    network = nn.Linear(1, 1)
    whole = WeightAverage(network, 0.5)
    assert train(whole, network.weight, [4.0, 8.0]) == [4.0, 6.0]
    state = copy.deepcopy(whole.state_dict())
    restored = WeightAverage(nn.Linear(1, 1), 0.5)
    restored.load_state_dict(state)
    assert_equal(dict(restored.state_dict()["average"]), dict(state["average"]))
    # 0.5 · 6 + 0.5 · 2 = 4; without the state the first value would be copied
    assert train(restored, restored.trained.weight, [2.0]) == train(whole, network.weight, [2.0]) == [4.0]


@pytest.mark.parametrize(
    ("saved", "resumed"), [(0.5, 0.0), (0.0, 0.5), (0.5, 0.9)], ids=["switched off", "switched on", "changed"]
)
def test_a_checkpoint_with_another_decay_is_refused(saved: float, resumed: float) -> None:
    state = WeightAverage(nn.Linear(1, 1), saved).state_dict()
    with pytest.raises(ValueError, match=rf"weight_average {saved:g}, this run has {resumed:g}\. Resume with the same"):
        WeightAverage(nn.Linear(1, 1), resumed).load_state_dict(state)


@pytest.fixture(scope="module")
def whole_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def uninterrupted(make_run: Make, whole_dir: Path) -> Run:
    """A run in `whole_dir`, with averaging."""
    run = make_run(whole_dir, weight_average=0.8)
    run.trainer.run()
    return run


class TestRuns:
    """Runs of 4 epochs of 3 iterations."""

    def test_plain_weights_are_the_average_and_checkpoints_contain_both(
        self, make_network: Make, uninterrupted: Run, whole_dir: Path
    ) -> None:
        network, average = uninterrupted.network.state_dict(), uninterrupted.average.network.state_dict()
        with pytest.raises(AssertionError):
            assert_equal(dict(average), dict(network))
        assert_equal(load(whole_dir / "model.pt"), dict(average))
        contents = load(whole_dir / "checkpoints" / "epoch_0004.pt")
        assert_equal(contents["network"], dict(network))
        assert_equal(contents["average"], uninterrupted.average.state_dict())
        assert contents["average"]["average"]["n_averaged"] == 12
        make_network(seed=3, num_classes=9).load_state_dict(load(whole_dir / "model.pt"), strict=True)

    def test_a_run_averages_the_weights_of_each_of_its_iterations(self, make_run: Make, tmp_path: Path) -> None:
        run = make_run(tmp_path, weight_average=0.8)
        name = "head.conv.weight"
        weights: list[torch.Tensor] = []
        run.trainer.add_event_handler(
            Events.ITERATION_COMPLETED, lambda: weights.append(run.network.get_parameter(name).detach().double())
        )
        run.trainer.run()
        expected = weights[0]
        for weight in weights[1:]:
            expected = 0.8 * expected + 0.2 * weight
        assert len(weights) == 12
        torch.testing.assert_close(load(tmp_path / "model.pt")[name].double(), expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("kill_at", [7, 6], ids=["in epoch 3", "before epoch 2 is saved"])
    def test_a_killed_run_resumes_to_the_same_average(
        self, make_run: Make, uninterrupted: Run, whole_dir: Path, tmp_path: Path, kill_at: int
    ) -> None:
        with pytest.raises(KilledError):
            make_run(tmp_path / "killed", kill_at=kill_at, weight_average=0.8).trainer.run()
        make_run(tmp_path / "killed", resume=True, weight_average=0.8).trainer.run()
        assert_equal(load(tmp_path / "killed" / "model.pt"), load(whole_dir / "model.pt"))
        paths = [folder / "checkpoints" / "epoch_0004.pt" for folder in (tmp_path / "killed", whole_dir)]
        assert_equal(*map(load_checkpoint, paths))

    def test_averaging_does_not_change_the_training_itself(
        self, make_run: Make, uninterrupted: Run, tmp_path: Path
    ) -> None:
        plain = make_run(tmp_path / "plain")
        plain.trainer.run()
        assert_equal(dict(plain.network.state_dict()), dict(uninterrupted.network.state_dict()))
        assert_equal(load(tmp_path / "plain" / "model.pt"), dict(plain.network.state_dict()))
        assert load(tmp_path / "plain" / "checkpoints" / "epoch_0004.pt")["average"]["average"] is None

    def test_the_best_weights_are_the_average_of_that_epoch(self, make_run: Make, tmp_path: Path) -> None:
        run = make_run(tmp_path, scores={1: 0.5, 2: 0.7, 3: 0.6}, weight_average=0.8)
        averages: list[Any] = []
        run.trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda: averages.append(copy.deepcopy(dict(run.average.network.state_dict())))
        )
        run.trainer.run()
        assert_equal(load(tmp_path / "model_best.pt"), averages[1])

    def test_pretrained_encoder_weights_are_part_of_the_average_from_the_start(
        self, make_run: Make, make_network: Make, tmp_path: Path
    ) -> None:
        torch.save(make_network(seed=11, num_classes=9).encoder.state_dict(), tmp_path / "encoder.pt")
        run = make_run(tmp_path / "run", encoder_weights=tmp_path / "encoder.pt", weight_average=0.8)
        first: list[Any] = []
        run.trainer.add_event_handler(
            Events.ITERATION_COMPLETED(once=1),
            lambda: first.extend(copy.deepcopy(dict(n.state_dict())) for n in (run.average.network, run.network)),
        )
        run.trainer.run()
        assert_equal(*first)

    @pytest.mark.parametrize(("saved", "resumed"), [(0.8, 0.0), (0.0, 0.8)], ids=["switched off", "switched on"])
    def test_a_run_is_not_resumed_with_averaging_switched(
        self, make_run: Make, tmp_path: Path, saved: float, resumed: float
    ) -> None:
        with pytest.raises(KilledError):
            make_run(tmp_path, kill_at=7, weight_average=saved).trainer.run()
        with pytest.raises(
            ValueError, match=rf"weight_average {saved:g}, this run has {resumed:g}\. Resume with the same"
        ):
            make_run(tmp_path, resume=True, weight_average=resumed).trainer.run()
