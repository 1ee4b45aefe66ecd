"""A real Orthanc with DICOMweb on the loopback interface, with a storage of its own that is deleted afterwards."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

PLUGINS = (Path("/usr/share/orthanc/plugins"), Path("/usr/local/share/orthanc/plugins"))
USER, PASSWORD = "radiologist", "s3cret-Orthanc"
_START_S = 30


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def running_orthanc(folder: Path) -> Iterator[str]:
    """Start Orthanc, yield the root of its DICOMweb services, and end it; skips if it is not installed."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
    plugin = next((path for parent in PLUGINS for path in parent.glob("libOrthancDicomWeb.so*")), None)
    if program is None or plugin is None:
        pytest.skip("needs Orthanc and its DICOMweb plugin (Debian: orthanc, orthanc-dicomweb)")
    port = free_port()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "DicomServerEnabled": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [str(plugin)],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder)
        root = f"http://127.0.0.1:{port}"
        try:
            _wait(root, process, folder / "orthanc.log")
            yield f"{root}/dicom-web"
        finally:
            process.terminate()
            process.wait(_START_S)


def _wait(root: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < until:
        try:
            requests.get(f"{root}/dicom-web/studies", auth=(USER, PASSWORD), timeout=5).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.1)
    raise AssertionError(log.read_text()[-2000:])
