"""MONAI's UNet, trained on a user's own two organs, in MONAI Label: the session of a clinician, start to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from i2net_bundle.cli import main
from i2net_bundle.data.phantoms import make_ct_phantoms
from i2net_bundle.networks.weights import load_network
from i2net_bundle.transforms import volume_preprocessing
from i2net_bundle.workflow.recorded_network import build_network
from i2net_bundle.workflow.run_records import run_record
from tests.child_processes import CHILD_PATH
from tests.monai_label.bundles import ROOT, ct_slices, read, undecided
from tests.monai_label.server import serving
from tests.monai_label.sessions import Session, agreement, hold_session

pytestmark = pytest.mark.slow
SPLEEN, LIVER = 7, 5
TINY = "network_def::channels: [4, 8, 8, 8, 8]\nnetwork_def::num_res_units: 0\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Decathlon folder with labels 1 spleen and 2 liver."""
    folder = tmp_path_factory.mktemp("organs") / "data"
    path = make_ct_phantoms(folder, 2, 0, 1, shape=(48, 40, 8), spacing_mm=(8, 8, 30))
    contents = json.loads(path.read_text())
    for case in [*contents["training"], *contents["test"]]:
        label: Any = nib.load(folder / case["label"])
        ids = np.asarray(label.dataobj)
        own = np.where(ids == SPLEEN, 1, np.where(ids == LIVER, 2, 0)).astype(np.uint8)
        nib.save(nib.Nifti1Image(own, label.affine), folder / case["label"])
    contents["labels"] = {"0": "background", "1": "spleen", "2": "liver"}
    path.write_text(json.dumps(contents))
    return folder


@pytest.fixture(scope="module")
def package(data: Path) -> Path:
    """A package of the trained UNet, which takes the network, its classes and its size from the run's record alone."""
    folder = data.parent
    (folder / "tiny.yaml").write_text(TINY)
    files = [str(ROOT / "configs" / name) for name in ("train.json", "unet.yaml")] + [str(folder / "tiny.yaml")]
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(files)]
    command += ["--dataset_dir", str(data), "--output_dir", str(folder / "run"), "--image_size", "[50,45]"]
    command += ["--epochs", "1", "--batch_size", "4", "--num_workers", "0", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": CHILD_PATH}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-4000:]
    weights = folder / "run" / "model.pt"
    recorded = run_record(weights).network
    assert recorded is not None
    network = build_network(recorded)
    load_network(network, weights)
    (volume,) = (data / "imagesTs").iterdir()
    seen = torch.nn.functional.pad(ct_slices(volume, volume_preprocessing(), (50, 45)), (0, 3, 0, 14), mode="replicate")
    torch.save(undecided(network, seen).state_dict(), weights)
    main(["package", "ct", "--out", str(folder / "unet_organs"), "--weights", str(weights)])
    return folder / "unet_organs"


@pytest.fixture(scope="module")
def session(
    server_python: Path, stock_app: Path, data: Path, package: Path, tmp_path_factory: pytest.TempPathFactory
) -> Session:
    folder = tmp_path_factory.mktemp("unet")
    studies, labels = folder / "studies", {}
    studies.mkdir()
    for path in sorted((data / "imagesTr").iterdir()):
        (studies / path.name).symlink_to(path)
        labels[path.name.split(".")[0]] = data / "labelsTr" / path.name
    for path in (data / "imagesTs").iterdir():
        (studies / path.name).symlink_to(path)
    request = {"max_epochs": 1, "val_split": 0.0}
    with serving(server_python, folder, package, studies, stock_app) as server:
        return hold_session(server, package, studies, labels, folder, **request)


def test_the_model_is_listed_with_the_datas_own_organs(session: Session) -> None:
    assert session.info["models"]["unet_organs"]["labels"] == {"spleen": 1, "liver": 2}
    assert "UNet" in session.info["models"]["unet_organs"]["description"]
    assert "I2Net" not in session.info["models"]["unet_organs"]["description"]


@pytest.mark.parametrize("when", ["first", "second"])
def test_a_reply_is_the_bundles_own_mask(session: Session, when: str) -> None:
    (name,) = session.images
    reply, expected = getattr(session, when)[name], getattr(session, f"expected_{when}")(name)
    assert read(reply).shape == nib.load(session.images[name]).shape
    assert agreement(reply, expected) == 1.0
    assert when == "second" or set(np.unique(expected)) == {0, 1, 2}


def test_training_ends_well_and_the_next_reply_is_of_the_new_weights(session: Session) -> None:
    (name,) = session.images
    assert session.training["status"] == "DONE"
    assert (session.bundle / "models" / "model.pt").read_bytes() != session.weights_before
    assert agreement(session.second[name], read(session.first[name])) < 1.0


def test_the_new_weights_are_recorded_with_the_same_network_and_classes(session: Session) -> None:
    record = run_record(session.bundle / "models" / "model.pt")
    assert record.network is not None and record.network.target == "monai.networks.nets.UNet"
    assert [item.name for item in record.classes or ()] == ["background", "spleen", "liver"]
    assert (record.image_size, record.divisor) == ((50, 45), 16)
