"""A real MONAI Label server on loopback, and the requests that its clients send."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

_PATIENCE_S = 600


class Server:
    """What a client asks of one server and one model.

    Args:
        url: of the server.
        model: name of the bundle.
        log: the server's output.
    """

    def __init__(self, url: str, model: str, log: Path) -> None:
        self.url, self.model, self.log = url, model, log

    def ask(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send a request; one that fails shows the end of the server's log."""
        reply = requests.request(method, f"{self.url}{path}", timeout=_PATIENCE_S, **arguments)
        assert reply.status_code == 200, f"{reply.status_code} {reply.text}\n{self.log.read_text()[-6000:]}"
        return reply

    def info(self) -> dict[str, Any]:
        return self.ask("GET", "/info/").json()

    def infer(self, image: str, to: Path, **params: Any) -> Path:
        """Infer and write the label to ``to``."""
        arguments = {"params": {"image": image, "output": "image"}, "data": {"params": json.dumps(params)}}
        to.write_bytes(self.ask("POST", f"/infer/{self.model}", **arguments).content)
        return to

    def submit(self, image: str, label: Path) -> None:
        with label.open("rb") as file:
            self.ask("PUT", "/datastore/label", params={"image": image, "tag": "final"}, files={"label": file})

    def train(self, **request: Any) -> dict[str, Any]:
        """Train and wait for the end."""
        self.ask("POST", f"/train/{self.model}", json={"device": "cpu", "multi_gpu": False, **request})
        return self._finished("/train/")

    def infer_batch(self, images: str) -> dict[str, Any]:
        request = {"device": "cpu", "multi_gpu": False, "max_workers": 1}
        self.ask("POST", f"/batch/infer/{self.model}", params={"images": images}, json=request)
        return self._finished("/batch/infer")

    def score(self, method: str) -> dict[str, Any]:
        self.ask("POST", f"/scoring/{method}", json={"device": "cpu"})
        return self._finished("/scoring/")

    def next_image(self, strategy: str) -> dict[str, Any]:
        return self.ask("POST", f"/activelearning/{strategy}", json={}).json()

    def datastore(self) -> dict[str, Any]:
        return self.ask("GET", "/datastore/", params={"output": "all"}).json()

    def _finished(self, path: str) -> dict[str, Any]:
        started = time.monotonic()
        while time.monotonic() - started < _PATIENCE_S:
            task = self.ask("GET", path).json()
            if task["status"] not in ("SUBMITTED", "RUNNING"):
                return task
            time.sleep(0.5)
        raise TimeoutError(f"{path} has not ended after {_PATIENCE_S} s\n{self.log.read_text()[-6000:]}")


@contextmanager
def serving(python: Path, folder: Path, bundle: Path, studies: Path, app: Path, **settings: str) -> Iterator[Server]:
    """Serve a bundle with an app.

    Args:
        python: of the server's environment.
        folder: for the app and the log.
        bundle: the bundle's folder; it is linked into the app.
        studies: folder of images.
        app: folder of the app to be copied.
        settings: environment variables.
    """
    own_app = shutil.copytree(app, folder / "app", ignore=shutil.ignore_patterns("model", "__pycache__"))
    (own_app / "model").mkdir()
    (own_app / "model" / bundle.name).symlink_to(bundle)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(python), "-m", "monailabel.main", "start_server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--app", str(own_app), "--studies", str(studies), "--conf", "models", bundle.name]
    command += ["--conf", "zoo_source", "local", "--conf", "sam2", "false"]
    own = {
        "PYTHONPATH": str(python.parents[1]),
        "OMP_NUM_THREADS": "1",
        "MONAI_LABEL_SESSION_PATH": str(folder / "sessions"),
        **settings,
    }
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | own, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        server = Server(f"http://127.0.0.1:{port}", bundle.name, log)
        _wait(server, process)
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(server: Server, process: subprocess.Popen) -> None:
    for _ in range(240):
        assert process.poll() is None, server.log.read_text()[-6000:]
        try:
            requests.get(f"{server.url}/info/", timeout=30).raise_for_status()
        except requests.RequestException:
            time.sleep(0.5)
        else:
            return
    raise TimeoutError(server.log.read_text()[-6000:])
