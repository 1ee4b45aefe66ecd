"""The start script: the files it creates, its messages, and who can reach the server."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests

from i2net_bundle.data.phantoms import make_gland_phantoms
from i2net_bundle.tasks import TASKS
from scripts import monai_label
from scripts.monai_label import FILES, bundle_name, make_bundle, parse
from tests.monai_label.bundles import ROOT

SCRIPT = str(ROOT / "scripts" / "monai_label.py")


def test_without_weights_it_says_so_and_how_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(monai_label, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", [SCRIPT, str(tmp_path), "--task", "ct"])
    with pytest.raises(SystemExit):
        parse()
    reported = capsys.readouterr().err
    assert "no trained weights for ct" in reported and "use --start untrained or phantoms, see" in reported


def test_glands_are_served_with_the_weights_of_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(monai_label, "run", lambda python, *command: commands.append(command))
    monkeypatch.setattr(sys, "argv", [SCRIPT, str(tmp_path), "--task", "histology"])
    arguments = parse()
    bundle = make_bundle(arguments, Path(sys.executable), tmp_path)
    assert commands == [("i2net_bundle", "package", "histology", "--out", str(bundle))]
    taken = f"{TASKS['histology'].shipped_weights}/model.pt"
    assert {"ct": "model.pt", "histology": taken} == monai_label.DEFAULT_WEIGHTS
    untrained = argparse.Namespace(**vars(arguments) | {"start": "untrained"})
    assert bundle.name.startswith("i2net_histology_") and bundle_name(untrained) == "i2net_histology_untrained"


def test_ct_has_no_imagenet_weights_to_begin_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", [SCRIPT, str(tmp_path), "--start", "imagenet"])
    with pytest.raises(SystemExit):
        parse()
    assert "--start imagenet is not available for ct: untrained, phantoms" in capsys.readouterr().err


def test_the_environment_can_be_installed_alone_and_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    made = []
    monkeypatch.setattr(monai_label, "make_environment", lambda folder, index: made.append(folder) or folder / "python")
    monkeypatch.setattr(monai_label, "make_bundle", lambda *arguments: pytest.fail("a bundle was made"))
    elsewhere = tmp_path / "environment"
    monkeypatch.setattr(sys, "argv", [SCRIPT, "--environment", str(elsewhere), "--install"])
    monai_label.main()
    assert made == [elsewhere]
    assert str(elsewhere / "python") in capsys.readouterr().out


def test_the_folder_of_studies_is_needed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, "argv", [SCRIPT, "--start", "untrained"])
    with pytest.raises(SystemExit):
        parse()
    assert "name the folder of STUDIES" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "tiff"])
def test_images_of_every_lossless_format_are_served(ending: str) -> None:
    assert f"*.{ending}" in FILES["histology"]


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        (["--start", "untrained", "--encoder-weights", "x.pt"], "--encoder-weights needs --start imagenet"),
        (["--start", "imagenet", "--encoder-weights", "absent.pt"], "absent.pt"),
        (["--weights", "absent.pt"], "absent.pt"),
        (["--start", "untrained", "--overlay", "absent.yaml"], "absent.yaml"),
    ],
    ids=["another start", "encoder weights", "weights", "overlay"],
)
def test_options_that_cannot_be_used_are_refused_before_anything_is_created(
    options: list[str], reported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", [SCRIPT, str(tmp_path), "--task", "histology", *options])
    with pytest.raises(SystemExit):
        parse()
    assert reported in capsys.readouterr().err


def command_line(monkeypatch: pytest.MonkeyPatch, *options: str) -> argparse.Namespace:
    monkeypatch.setattr(sys, "argv", [SCRIPT, ".", *options])
    return parse()


def test_other_weights_and_overlays_get_a_bundle_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "overlay"):
        Path(f"{name}.pt").write_text(name)
    Path("copy_of_a.pt").write_text("a")
    options = [
        ["--weights", "a.pt"],
        ["--weights", "b.pt"],
        ["--weights", "a.pt", "--overlay", "overlay.pt"],
        ["--weights", "a.pt", "--train-overlay", "overlay.pt"],
        ["--start", "untrained"],
    ]
    names = [bundle_name(command_line(monkeypatch, *chosen)) for chosen in options]
    assert len(set(names)) == 5
    assert names[4] == "i2net_ct_untrained"
    assert bundle_name(command_line(monkeypatch, "--weights", "copy_of_a.pt")) == names[0]


def test_new_weights_are_packaged_from_the_callers_folder_and_old_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    packaged: list[str] = []

    def package(python: Path, module: str, *arguments: str) -> None:
        packaged.append(arguments[arguments.index("--weights") + 1])
        Path(arguments[arguments.index("--out") + 1]).mkdir(parents=True)

    monkeypatch.setattr(monai_label, "run", package)
    bundles = []
    for content in ("old", "new", "new"):
        Path("model.pt").write_text(content)
        arguments = command_line(monkeypatch, "--weights", "model.pt")
        bundles.append(make_bundle(arguments, Path("python"), tmp_path / "server"))
    assert packaged == [str(tmp_path / "model.pt")] * 2
    assert bundles[0] != bundles[1] == bundles[2]
    assert all(bundle.is_dir() for bundle in bundles)
    assert "is served with what it has learned since" in capsys.readouterr().out


@pytest.mark.slow
def test_it_serves_named_weights_on_loopback_alone_and_keeps_what_was_learned(
    server_python: Path, tmp_path: Path
) -> None:
    studies, folder = tmp_path / "with a space", tmp_path / "folder"
    make_gland_phantoms(tmp_path / "data", 0, 0, 1, size=(64, 80))
    (tmp_path / "data" / "images").rename(studies)
    folder.mkdir()
    (folder / "venv").symlink_to(server_python.parents[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        SCRIPT,
        str(studies),
        "--task",
        "histology",
        "--start",
        "untrained",
        "--folder",
        str(folder),
    ]
    subprocess.run([*command, "--prepare"], check=True, capture_output=True)
    bundle = folder / "app" / "model" / "i2net_histology_untrained"
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["packaged_weights"]["origin"].startswith("UNTRAINED")
    learned = bundle / "models" / "model_until_20260101T000000.pt"
    learned.touch()
    with (tmp_path / "server.log").open("w") as log:
        own = os.environ | {"MONAI_LABEL_AUTO_UPDATE_SCORING": "false"}
        process = subprocess.Popen(
            [*command, "--port", str(port)], env=own, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        info = _info(f"http://127.0.0.1:{port}", process, tmp_path / "server.log")
        assert set(info["models"]) == {"i2net_histology_untrained"} and info["datastore"]["total"] == 1
        assert "entropy_i2net_histology_untrained" in info["strategies"]
        listening = [c.laddr for c in psutil.Process(process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert [tuple(address) for address in listening] == [("127.0.0.1", port)]
        reply = requests.post(
            f"http://127.0.0.1:{port}/infer/i2net_histology_untrained",
            params={"image": "testA_1", "output": "image"},
            timeout=300,
        )
        assert reply.status_code == 200 and reply.content.startswith(b"\x89PNG")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
    assert learned.is_file()
    assert "with what it has learned" in (tmp_path / "server.log").read_text()


def _info(url: str, process: subprocess.Popen, log: Path) -> dict:
    for _ in range(240):
        assert process.poll() is None, log.read_text()[-4000:]
        try:
            return requests.get(f"{url}/info/", timeout=30).json()
        except requests.RequestException:
            time.sleep(0.5)
    raise TimeoutError(log.read_text()[-4000:])
