"""Fixtures of the whole suite: data from outside the repository, phantom data sets, and a separate cache."""

from __future__ import annotations

import locale
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

from i2net_bundle.data.phantoms import make_ct_phantoms, make_gland_phantoms
from tests.child_processes import CHILD_PATH

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("I2NET_SHARED", REPOSITORY.parent / "shared"))
LOCALE = locale.setlocale(locale.LC_CTYPE)


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the suite, and the processes that it starts, out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", matplotlib.get_cachedir())  # its list of fonts takes long to make
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("user_cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def lean_imports() -> Iterator[None]:
    """Let the processes that the suite starts run this checkout, and start faster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", CHILD_PATH)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of golden numbers and real data; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the project's shared data folder, not found at {SHARED} (set I2NET_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared: Path) -> Callable[[str], dict[str, torch.Tensor]]:
    """Read one golden file as tensors."""

    def read(name: str) -> dict[str, torch.Tensor]:
        with np.load(shared / "golden" / f"{name}.npz") as arrays:
            return {key: torch.from_numpy(arrays[key]) for key in arrays.files}

    return read


@pytest.fixture(scope="session")
def ct_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training cases of 16 slices of 48×48, one of validation, one of test."""
    return make_ct_phantoms(tmp_path_factory.mktemp("ct_cases"), 2, 1, 1, (48, 48, 16), (8.0, 8.0, 15.0)).parent


@pytest.fixture(scope="session")
def gland_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training images of 96×128, one of validation, one of test."""
    return make_gland_phantoms(tmp_path_factory.mktemp("gland_cases"), 2, 1, 1, (96, 128)).parent


@pytest.fixture(autouse=True)
def _same_locale() -> Iterator[None]:
    """SimpleITK switches the process to the C locale when it writes DICOM, as some tests and shared fixtures do."""
    locale.setlocale(locale.LC_CTYPE, LOCALE)
    yield
    locale.setlocale(locale.LC_CTYPE, LOCALE)


@pytest.fixture(scope="session", autouse=True)
def _usual_sigint() -> None:
    """Give SIGINT its usual handler, also in processes that tests start: background jobs of a shell ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
