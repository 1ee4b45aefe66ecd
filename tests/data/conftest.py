"""Small phantom sets that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2net_bundle.data.phantoms import make_ct_phantoms, make_gland_phantoms


@pytest.fixture(scope="session")
def ct_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training cases of 16 slices of 48×48, one of validation, one of test."""
    return make_ct_phantoms(tmp_path_factory.mktemp("ct_cases"), 2, 1, 1, (48, 48, 16), (8.0, 8.0, 15.0)).parent


@pytest.fixture(scope="session")
def gland_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training images of 96×128, one of validation, one of test."""
    return make_gland_phantoms(tmp_path_factory.mktemp("gland_cases"), 2, 1, 1, (96, 128)).parent
