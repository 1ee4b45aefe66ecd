"""A data set that several commands read."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2net_bundle.data.phantoms import make_gland_phantoms


@pytest.fixture(scope="session")
def glands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two gland images for training, one for validation, one for test."""
    return make_gland_phantoms(tmp_path_factory.mktemp("glands"), 2, 1, 1, (64, 80)).parent
