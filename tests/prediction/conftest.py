"""Weights to predict with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from i2net_bundle.networks import synapse_i2net


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an untrained network for CT."""
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(synapse_i2net().state_dict(), path)
    return path
