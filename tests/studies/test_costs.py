"""Costs of networks: counted by hand, and times that are measured once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import nn

from i2net_bundle.studies.costs import count_cost, prediction_times, step_seconds


def test_parameters_and_operations_are_counted_on_one_image() -> None:
    cost = count_cost(nn.Conv2d(3, 2, 3, padding=1), 3, 4)
    assert cost.parameters == 2 * 3 * 9 + 2
    assert cost.macs == 2 * 4 * 4 * (3 * 9 + 1)
    assert cost.shape == (1, 3, 4, 4)


def test_predictions_are_measured_in_alternation_and_only_once(tmp_path: Path) -> None:
    order: list[str] = []

    class Noted(nn.Conv2d):
        def forward(self, x):
            order.append(self.name)
            return super().forward(x)

    def builder(name: str):
        def build() -> nn.Module:
            network = Noted(1, 1, 1)
            network.name = name
            return network

        return build, (1, 1, 8, 8)

    builders = {name: builder(name) for name in "ab"}
    first = prediction_times(builders, tmp_path, 1)
    assert order == ["a", "b"] * 4  # the first round warms up
    assert first.keys() == {"a", "b"} and all(seconds > 0 for seconds in first.values())
    assert prediction_times(builders, tmp_path, 1) == first and len(order) == 8
    prediction_times(builders, tmp_path, 2)  # another number of threads
    assert len(order) == 16
    assert json.loads((tmp_path / "prediction_times.json").read_text())["place"]["threads"] == 2


def test_a_training_step_is_the_median_over_epochs_and_runs(tmp_path: Path) -> None:
    for number, rows in enumerate((["1,10,5", "2,30,5"], ["1,20,5"])):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "training.csv").write_text("\n".join(["epoch,seconds,steps", *rows]))
    assert step_seconds([tmp_path / "0", tmp_path / "1"]) == pytest.approx(4)  # 2, 6 and 4


def test_runs_that_record_no_steps_have_no_time_per_step(tmp_path: Path) -> None:
    (tmp_path / "training.csv").write_text("epoch,seconds\n1,10\n")
    assert step_seconds([tmp_path, tmp_path / "none"]) is None
