"""Pictures and records during training."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedEvaluator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from i2net_bundle.prediction import SlicewiseInferer
from i2net_bundle.reports import MLflowRecord, ValidationImages
from i2net_bundle.training import SegmentationTrainer, TrainingRecord
from tests.training.conftest import make_batches, make_loss, make_network, make_trainer
from tests.workflow.records import settings_record

Make = Callable[..., Any]
__all__ = ["make_batches", "make_loss", "make_network", "make_trainer"]


@pytest.fixture
def make_run(make_network: Make, make_batches: Make, make_trainer: Make) -> Callable[..., SegmentationTrainer]:
    """Build a trainer of 3 batches that validates every second epoch on two volumes."""

    def make(
        output_dir: Path,
        max_epochs: int = 4,
        start: int = 0,
        mlflow_uri: str | None = None,
        network: nn.Module | None = None,
    ) -> SegmentationTrainer:
        network = network or make_network()
        inferer = SlicewiseInferer((16, 16))
        volume = torch.rand(1, 1, 16, 16, 5, generator=torch.Generator().manual_seed(0))
        labels = (volume > 0.5).to(torch.uint8)
        labels[..., 3] += 1  # three classes in slice 3 alone
        validator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=[{"image": volume, "label": labels}, {"image": -volume, "label": labels}],
            network=network,
            inferer=inferer,
        )
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        trainer = make_trainer(network, make_batches(3), optimizer, max_epochs=max_epochs)

        def resume(engine: SegmentationTrainer) -> None:
            engine.state.epoch, engine.state.iteration = start, start * 3

        trainer.add_event_handler(Events.STARTED, resume)
        trainer.add_event_handler(Events.EPOCH_COMPLETED(every=2), lambda engine: validator.run(engine.state.epoch))
        settings_record(output_dir, training={"epochs": max_epochs}).attach(trainer)
        TrainingRecord(output_dir, optimizer, validator).attach(trainer)
        ValidationImages(output_dir, validator, network, inferer, ["background", "one", "two"]).attach(trainer)
        if mlflow_uri is not None:
            MLflowRecord(output_dir, mlflow_uri, "experiment", validator).attach(trainer)
        trainer.validator = validator
        return trainer

    return make


def shown(output_dir: Path) -> dict[str, list[int]]:
    """Tag to steps of the pictures in TensorBoard."""
    events = EventAccumulator(str(output_dir / "tensorboard" / "validation"), size_guidance={"images": 0}).Reload()
    return {tag: [image.step for image in events.Images(tag)] for tag in events.Tags()["images"]}


def test_tensorboard_gets_an_overlay_and_the_gates_per_validation(make_run: Make, tmp_path: Path) -> None:
    make_run(tmp_path).run()
    assert shown(tmp_path) == {"validation/overlay": [6, 12], "validation/gates": [6, 12]}  # 3 iterations an epoch


def test_the_slice_shown_is_the_one_with_most_classes(make_run: Make, tmp_path: Path) -> None:
    trainer = make_run(tmp_path, max_epochs=2)
    trainer.run()
    overlay = trainer.validator.state.pictures["overlay"]
    assert overlay.axes[0].get_title() == "image, slice 3"
    assert len(trainer.validator.state.pictures["gates"].axes) >= 3  # two learners and the entropy


def test_a_resumed_run_goes_on_with_its_pictures(make_run: Make, tmp_path: Path) -> None:
    make_run(tmp_path, max_epochs=4).run()
    make_run(tmp_path, max_epochs=6, start=2).run()  # the first one's epoch 4 is done again
    assert shown(tmp_path)["validation/gates"] == [6, 12, 18]


def test_a_network_without_gates_gets_an_overlay_alone(make_run: Make, tmp_path: Path) -> None:
    make_run(tmp_path, max_epochs=2, network=nn.Conv2d(1, 3, 3, padding=1)).run()
    assert shown(tmp_path) == {"validation/overlay": [6]}


def test_validation_pictures_do_not_change_training(make_run: Make, make_network: Make, tmp_path: Path) -> None:
    trainers = [make_run(tmp_path / name, max_epochs=2) for name in ("with", "without")]
    trainers[1].validator._event_handlers[Events.ITERATION_COMPLETED].clear()
    for trainer in trainers:
        trainer.run()
    states = [trainer.network.state_dict() for trainer in trainers]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.slow
def test_mlflow_gets_scalars_pictures_and_settings(make_run: Make, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    uri = f"sqlite:///{tmp_path / 'mlruns.db'}"
    make_run(tmp_path / "run", mlflow_uri=uri).run()
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs(client.get_experiment_by_name("experiment").experiment_id)
    assert run.info.run_name == "run" and run.info.status == "FINISHED" and run.data.params["epochs"] == "4"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3, 4]
    assert {"learner_cosine", "gate_entropy", "mean_gate_1"} <= run.data.metrics.keys()
    files = {Path(file.path).name for file in client.list_artifacts(run.info.run_id, "validation")}
    assert files == {"overlay_0002.png", "gates_0002.png", "overlay_0004.png", "gates_0004.png"}


def test_mlflow_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "i2net-bundle\[mlflow\]"'):
        MLflowRecord(tmp_path, "sqlite:///x.db", "experiment", None)  # type: ignore[arg-type]
