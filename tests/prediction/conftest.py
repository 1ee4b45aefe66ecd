"""Weights to predict with, and scans to segment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from i2net_bundle.networks import synapse_i2net
from tests.checks.ct_files import hu_volume, save


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an untrained network for CT."""
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(synapse_i2net().state_dict(), path)
    return path


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Folder of three small CT, a, b and c, each shifted against the others."""
    (tmp_path / "scans").mkdir()
    for number, name in enumerate("abc"):
        save(tmp_path / "scans" / f"{name}.nii.gz", np.roll(hu_volume((20, 18, 3)), number, 1))
    return tmp_path / "scans"
