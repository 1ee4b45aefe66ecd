"""CT in MONAI Label's own app: the repository's root as the bundle, whatever the axes of the volumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from i2net_bundle.data.phantoms import make_ct_phantoms
from i2net_bundle.labels import class_names
from i2net_bundle.networks import synapse_i2net
from i2net_bundle.networks.weights import load_network
from i2net_bundle.transforms import volume_preprocessing
from tests.monai_label.bundles import ct_slices, fresh_clone, read, undecided, write_orientations
from tests.monai_label.server import serving
from tests.monai_label.sessions import Session, agreement, hold_session

pytestmark = pytest.mark.slow
ORIENTATIONS = ["ras", "lps", "permuted", "oblique"]


@pytest.fixture(scope="module")
def session(server_python: Path, stock_app: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("ct")
    studies, phantoms, labels = folder / "studies", folder / "phantoms", {}
    studies.mkdir()
    make_ct_phantoms(phantoms, 2, 0, 1, shape=(48, 40, 8), spacing_mm=(8, 8, 30))
    for path in sorted(phantoms.rglob("*.nii.gz")):  # few slices: each takes a second at 224x224
        volume: Any = nib.load(path)
        volume.slicer[..., 3:5].to_filename(path)
    for number in (0, 1):
        name = f"case_{number:03}"
        labels[name] = phantoms / "labelsTr" / f"{name}.nii.gz"
        (phantoms / "imagesTr" / f"{name}.nii.gz").rename(studies / f"{name}.nii.gz")
    source = phantoms / "imagesTs" / "case_002.nii.gz"
    assert write_orientations(source, studies) == ORIENTATIONS
    bundle = fresh_clone(folder / "i2net_ct")
    torch.manual_seed(0)
    network = undecided(synapse_i2net(), ct_slices(source, volume_preprocessing(), (224, 224)))
    torch.save(network.state_dict(), bundle / "models" / "model.pt")
    # Slicer sends every option of the training panel, and an empty run_id is among them
    request = {"max_epochs": 1, "val_split": 0.0, "run_id": ""}
    with serving(server_python, folder, bundle, studies, stock_app) as server:
        return hold_session(server, bundle, studies, labels, folder, **request)


def test_the_model_is_listed_with_its_organs(session: Session) -> None:
    names = class_names("synapse")
    assert session.info["models"]["i2net_ct"]["labels"] == {name: names.index(name) for name in names[1:]}
    assert session.info["models"]["i2net_ct"]["type"] == "segmentation"
    assert set(session.info["trainers"]) == {"i2net_ct"}


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("when", ["first", "second"])
def test_a_reply_is_the_bundles_own_mask_in_the_volumes_grid(session: Session, name: str, when: str) -> None:
    reply, expected = getattr(session, when)[name], getattr(session, f"expected_{when}")(name)
    found, image = nib.load(reply), nib.load(session.images[name])
    assert found.shape == image.shape
    assert found.affine == pytest.approx(image.affine, rel=1e-6, abs=1e-5)  # NIfTI keeps 32 bits of it
    assert agreement(reply, expected) == 1.0
    assert when == "second" or len(np.unique(expected)) > 4


def test_the_four_replies_are_one_mask_in_the_patient(session: Session) -> None:
    masks = {name: nib.as_closest_canonical(nib.load(session.first[name])) for name in ("ras", "lps", "permuted")}
    for mask in masks.values():
        assert np.array_equal(np.asarray(mask.dataobj), np.asarray(masks["ras"].dataobj))
        assert mask.affine == pytest.approx(masks["ras"].affine, abs=1e-5)


def test_training_ends_well_and_the_next_reply_is_of_the_new_weights(session: Session) -> None:
    assert session.training["status"] == "DONE"
    assert (session.bundle / "models" / "model.pt").read_bytes() != session.weights_before
    load_network(synapse_i2net(), session.bundle / "models" / "model.pt")
    assert agreement(session.second["ras"], read(session.first["ras"])) < 1.0


def test_the_weights_before_are_kept_and_stay_second_choice(session: Session) -> None:
    kept = list((session.bundle / "models").glob("model_until_*.pt"))
    assert [path.read_bytes() for path in kept] == [session.weights_before]
    assert len(kept[0].name) > len("model.pt")  # MONAI Label's default is the shortest name
    record = json.loads((session.bundle / "runs" / "synapse" / "publication.json").read_text())
    assert record["published"] and record["validation_cases"] == 0 and record["kept_as"] == kept[0].name


def test_training_runs_once_whatever_the_run_id(session: Session) -> None:
    assert [path.name for path in (session.bundle / "runs").iterdir()] == ["synapse"]
    assert (session.bundle / "runs" / "synapse" / "training.csv").read_text().count("\n") == 2


def test_the_next_image_is_one_of_the_studies(session: Session) -> None:
    assert session.next_image["id"] in {*session.images, "case_000", "case_001"}


def test_a_batch_labels_every_image_that_had_no_label(session: Session) -> None:
    assert session.batch["status"] == "DONE"
    objects = session.datastore["objects"]
    assert {name for name, entry in objects.items() if "original" in entry["labels"]} == set(session.images)
    assert {name for name, entry in objects.items() if "final" in entry["labels"]} == {"case_000", "case_001"}
