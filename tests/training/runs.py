"""Complete small runs, with every part of train.json, to kill and resume."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from ignite.engine import Events
from monai.data import DataLoader
from monai.handlers import LrScheduleHandler
from torch.optim.lr_scheduler import PolynomialLR

from i2net_bundle.data import load_cases
from i2net_bundle.data.phantoms import make_ct_phantoms
from i2net_bundle.networks import I2Net
from i2net_bundle.training import (
    AuxiliaryHead,
    InitialWeights,
    IterationSeed,
    RunCheckpoint,
    SegmentationTrainer,
    TrainingRecord,
    UpdateAverage,
    WeightAverage,
    parameter_groups,
)
from i2net_bundle.training.slices import EpochSampler, SliceDataset
from i2net_bundle.transforms import volume_reading, volume_training

Make = Callable[..., Any]


class KilledError(RuntimeError):
    """Simulates the end of a process."""


class Run(NamedTuple):
    """The parts of a run that the tests look at."""

    trainer: SegmentationTrainer
    network: I2Net
    optimizer: torch.optim.SGD
    scheduler: PolynomialLR
    average: WeightAverage


def run_maker(folder: Path, make_network: Make, make_trainer: Make) -> Callable[..., Run]:
    """Build all parts of a run, as a new process does: batch normalisation, momentum, poly schedule, augmentation.

    Args:
        folder: where one training case of 12 slices is written.
        make_network: see conftest.py.
        make_trainer: see conftest.py.
    """
    phantom_dir = make_ct_phantoms(folder, 1, 0, 0, (48, 48, 12), (8.0, 8.0, 20.0)).parent

    def make(
        output_dir: Path,
        resume: bool = False,
        max_epochs: int = 4,
        kill_at: int | None = None,
        interval: int = 1,
        scores: dict[int, float] | None = None,
        batch_size: int = 5,
        encoder_weights: Path | str = "none",
        init_weights: Path | str = "none",
        weight_average: float = 0.0,
        num_workers: int = 0,
        extend: bool = False,
        settings: dict[str, str] | None = None,
        auxiliary_weight: float = 0.0,
        **trainer_options: Any,
    ) -> Run:
        torch.manual_seed(99 if resume else 1)  # nothing may depend on the global state
        dataset = SliceDataset(
            load_cases(phantom_dir, "training"), volume_reading(("image", "label")), volume_training((16, 16)), seed=5
        )
        loader = DataLoader(
            dataset, batch_size=batch_size, sampler=EpochSampler(dataset, seed=5), num_workers=num_workers
        )
        network = make_network(seed=7 if resume else 0, num_classes=9)
        average = WeightAverage(network, weight_average)
        auxiliary = AuxiliaryHead(network, 9, stage=2) if auxiliary_weight else None
        groups = parameter_groups(network, 0.05, 1.0, auxiliary)
        optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=1e-4)
        scheduler = PolynomialLR(optimizer, total_iters=max_epochs * len(loader), power=0.9)
        validator = (
            None
            if scores is None
            else SimpleNamespace(state=SimpleNamespace(epoch=0, metrics={}, key_metric_name="mean_dice"))
        )
        if auxiliary is not None:
            trainer_options |= {"auxiliary": auxiliary, "weights": {"auxiliary_weight": auxiliary_weight}}
        trainer = make_trainer(network, loader, optimizer, max_epochs=max_epochs, **trainer_options)
        record = TrainingRecord(output_dir, optimizer, validator)
        state = {"optimizer": optimizer, "lr_scheduler": scheduler, "average": average, "record": record}
        state["auxiliary_head"] = auxiliary

        def validate(engine: SegmentationTrainer) -> None:
            if engine.state.epoch in (scores or {}):
                validator.state.epoch = engine.state.epoch
                validator.state.metrics = {"mean_dice": scores[engine.state.epoch]}

        trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
        LrScheduleHandler(scheduler, print_lr=False, epoch_level=False).attach(trainer)
        RunCheckpoint(
            output_dir, network, average.network, state, validator, interval, resume, extend, settings
        ).attach(trainer)
        InitialWeights(network, init_weights, encoder_weights).attach(trainer)
        UpdateAverage(average).attach(trainer)
        IterationSeed(5).attach(trainer)
        record.attach(trainer)
        if kill_at is not None:
            trainer.add_event_handler(Events.ITERATION_COMPLETED(once=kill_at), kill)
        return Run(trainer, network, optimizer, scheduler, average)

    return make


def kill() -> None:
    raise KilledError


def load(path: Path) -> dict[str, Any]:
    """Load a file saved by torch."""
    return torch.load(path, weights_only=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Contents of a checkpoint without the seconds."""
    contents = load(path)
    for row in contents["record"]["rows"]:
        del row["seconds"]
    del contents["record"]["seconds"]
    return contents


def assert_equal(found: Any, expected: Any, where: str = "") -> None:
    """Require bitwise equality of tensors, mappings and sequences."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_equal(found[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for index, pair in enumerate(zip(found, expected, strict=True)):
            assert_equal(*pair, f"{where}/{index}")
    else:
        assert found == expected, where


def record(output_dir: Path) -> list[dict[str, str]]:
    """Rows of training.csv without the seconds."""
    with (output_dir / "training.csv").open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


class DeadlySlices:
    """Slices of a case that kill the process that reads one of them.

    Args:
        slices: slices of the case.
        index: the deadly one.
    """

    def __init__(self, slices: Any, index: int) -> None:
        self.slices, self.index = slices, index

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> Any:
        if index == self.index:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.slices[index]


def names_in(folder: Path) -> list[str]:
    """Names of the files of a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())
