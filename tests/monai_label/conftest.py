"""The server's own environment, made once for a run of the suite or taken from where an earlier run left it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.monai_label import make_environment


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process run them all: a second one would make an environment of its own."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("monai_label"))


@pytest.fixture(scope="session")
def server_python(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with MONAI Label; ``I2NET_MONAI_LABEL`` names a folder to keep it in."""
    mend = shared / "monailabel"
    if not mend.is_dir():
        pytest.skip(f"MONAI Label's environment needs {mend}, for torchvision beside a CPU build of torch")
    folder = Path(os.environ.get("I2NET_MONAI_LABEL") or tmp_path_factory.mktemp("monai_label"))
    python = make_environment(folder / "venv", torch_index=None)
    where = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()
    for file in mend.glob("tv_cpu_shim.p*"):
        shutil.copy(file, packages)
    return python


@pytest.fixture(scope="session")
def stock_app(server_python: Path) -> Path:
    """MONAI Label's own app for bundles."""
    return server_python.parents[1] / "monailabel" / "sample-apps" / "monaibundle"
