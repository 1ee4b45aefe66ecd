"""Copies of the phantom data sets, to break."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def ct(ct_dir: Path, tmp_path: Path) -> Path:
    """A copy of the CT set to break."""
    return Path(shutil.copytree(ct_dir, tmp_path / "ct"))


@pytest.fixture
def glands(gland_dir: Path, tmp_path: Path) -> Path:
    """A copy of the gland set to break."""
    return Path(shutil.copytree(gland_dir, tmp_path / "glands"))
