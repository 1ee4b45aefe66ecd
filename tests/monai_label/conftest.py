"""The server's own environment, created once per run of the suite, or reused from an earlier run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

from scripts.monai_label import make_environment


@pytest.fixture(scope="session")
def server_python(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with MONAI Label; ``I2NET_MONAI_LABEL`` names a folder to keep it in."""
    requirements = shared / "monailabel"
    if not requirements.is_dir():
        pytest.skip(f"MONAI Label's environment needs {requirements}, for torchvision beside a CPU build of torch")
    temporary = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # its parent is that of all processes of this run
        temporary = temporary.parent
    folder = Path(os.environ.get("I2NET_MONAI_LABEL") or temporary / "monai_label")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "environment.lock"):
        python = make_environment(folder / "venv", torch_index=None)
    where = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = subprocess.run(where, check=True, capture_output=True, encoding="utf-8").stdout.strip()
    for file in requirements.glob("tv_cpu_shim.p*"):
        shutil.copy(file, packages)
    return python


@pytest.fixture(scope="session")
def stock_app(server_python: Path) -> Path:
    """MONAI Label's own app for bundles."""
    return server_python.parents[1] / "monailabel" / "sample-apps" / "monaibundle"
