"""A new run starts from given weights; a resumed run reads none."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events

from i2net_bundle.training import InitialWeights
from tests.training.runs import (
    KilledError,
    Make,
    assert_equal,
)


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
