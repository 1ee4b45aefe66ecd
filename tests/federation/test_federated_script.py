"""The whole example in NVFlare's simulator: rounds, weights in the bundle's form, scores, and what the server gets."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from i2net_bundle.data.phantoms import make_ct_phantoms
from i2net_bundle.federation.common_settings import check_sites
from i2net_bundle.federation.simulation import JOB
from i2net_bundle.networks.tensor_files import load_tensors
from i2net_bundle.tasks import TASKS
from i2net_bundle.workflow.run_records import SETTINGS_NAME, read_record
from scripts import federated
from tests.federation.test_federated_site import SMALL

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def python() -> str:
    """Python with the extra ``federated``: `I2NET_FEDERATED`, or the one that runs the tests."""
    named = os.environ.get("I2NET_FEDERATED")
    if named is None and importlib.util.find_spec("nvflare") is None:
        pytest.skip("needs the extra 'federated', or I2NET_FEDERATED, the path of a Python that has it")
    return named or sys.executable


@pytest.mark.slow
def test_two_sites_train_one_network_and_send_weights_only(python: str, tmp_path: Path) -> None:
    overlay = tmp_path / "small.yaml"
    overlay.write_text(SMALL, encoding="utf-8")
    grid = {"shape": (48, 40, 16), "spacing_mm": (8, 8, 15)}
    command = [python, "-m", "scripts.federated", str(tmp_path / "out"), "--overlay", str(overlay), "--rounds", "2"]
    for name, cases in {"north": 2, "south": 1}.items():
        make_ct_phantoms(tmp_path / name, cases, 0, 0, seed=cases, **grid)
        command += ["--site", f"{name}={tmp_path / name}"]
    make_ct_phantoms(tmp_path / "test", 0, 0, 1, seed=3, **grid)
    command += ["--test", str(tmp_path / "test"), "--epochs", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]

    out = tmp_path / "out"
    with (out / federated.SCORES_NAME).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["network"] for row in rows] == ["global, round 1", "global, round 2", "north alone", "south alone"]
    assert [row["epochs"] for row in rows] == ["1", "2", "2", "2"]
    assert all(0 <= float(row["mean_dice"]) <= 1 for row in rows)

    # 32 slices at one site, 16 at the other: the shares are 2/3 and 1/3, in batch normalization's statistics too
    north, south = (load_tensors(out / "sites" / name / "model.pt") for name in ("north", "south"))
    average = load_tensors(out / "global" / "round_2" / "model.pt")
    for name in average:
        expected = (2 * north[name].double() + south[name].double()) / 3
        tolerance = 0.5 if not average[name].is_floating_point() else 1e-5
        assert torch.allclose(average[name].double(), expected, rtol=1e-4, atol=tolerance), name
    assert read_record(out / "global" / "round_2" / SETTINGS_NAME).training_cases == 3

    server = [path for path in (out / "sites" / "nvflare" / JOB / "server").rglob("*") if path.is_file()]
    assert server
    for path in server:
        content = path.read_bytes()
        assert str(tmp_path / "north").encode() not in content and b"case_0" not in content, path


@pytest.mark.parametrize(
    ("words", "reported"),
    [
        (["out", "--site", "north"], "'north' is not NAME=DIR"),
        (["out", "--site", "../north=data"], "is not NAME=DIR with letters"),
        (["out", "--rounds", "0"], "'0' is not a whole number from 1"),
    ],
    ids=["no folder", "path as a name", "no round"],
)
def test_options_that_cannot_be_used_are_refused(
    words: list[str], reported: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        federated.parse(words)
    assert reported in capsys.readouterr().err


def test_the_phantoms_of_the_sites_are_different_patients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federated, "GRID", {"shape": (48, 40, 16), "spacing_mm": (8.0, 8.0, 15.0)})
    sites, test = federated.make_phantoms(tmp_path)
    images = [path.read_bytes() for folder in (*sites.values(), test) for path in folder.glob("images*/*")]
    assert len(images) == len(set(images)) == 4 + 2 + 4
    check_sites(sites, test, TASKS["ct"])
