"""Gland images in MONAI Label's own app and in ours: a packaged bundle, PNG and BMP in, the same out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2net_bundle.cli import main
from i2net_bundle.data.phantoms import make_gland_phantoms
from i2net_bundle.networks import glas_i2net
from i2net_bundle.transforms import histology_preprocessing
from tests.monai_label.bundles import ROOT, predict, read, undecided
from tests.monai_label.server import Server, serving
from tests.monai_label.sessions import Session, agreement, hold_session

pytestmark = pytest.mark.slow
LABELLED = ["train_1", "train_2", "train_3"]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glands")
    make_gland_phantoms(folder / "phantoms", 3, 0, 2, size=(96, 128))
    return folder


@pytest.fixture(scope="module")
def studies(phantoms: Path) -> Path:
    """Three images to be labelled, another PNG and a BMP."""
    studies = phantoms / "studies"
    studies.mkdir()
    for name in [*LABELLED, "testA_1"]:
        shutil.copy(phantoms / "phantoms" / "images" / f"{name}.png", studies)
    Image.open(phantoms / "phantoms" / "images" / "testA_2.png").save(studies / "testA_2.bmp")
    return studies


@pytest.fixture(scope="module")
def package(phantoms: Path, studies: Path) -> Path:
    """A bundle that trains in seconds."""
    torch.manual_seed(0)
    image = histology_preprocessing()({"image": str(studies / "testA_1.png")})["image"]
    torch.save(undecided(glas_i2net(), image.as_tensor()[None]).state_dict(), phantoms / "weights.pt")
    fast = {"image_size": [64, 64], "batch_size": 2, "num_workers": 0}
    (phantoms / "fast.json").write_text(json.dumps(fast))
    bundle = phantoms / "i2net_histology"
    training = ["--train-overlay", str(ROOT / "configs" / "glas_small.yaml")]
    training += ["--train-overlay", str(phantoms / "fast.json")]
    main(["package", "histology", "--out", str(bundle), "--weights", str(phantoms / "weights.pt"), *training])
    return bundle


@pytest.fixture(scope="module")
def session(
    server_python: Path,
    stock_app: Path,
    package: Path,
    phantoms: Path,
    studies: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Session:
    folder = tmp_path_factory.mktemp("stock_app")
    labels = {}
    for name in LABELLED:  # as a client sends them: one value for the glands
        labels[name] = folder / f"{name}.png"
        annotation = read(phantoms / "phantoms" / "annotations" / f"{name}_anno.png")
        Image.fromarray((annotation > 0).astype(np.uint8)).save(labels[name])
    kinds = {"MONAI_LABEL_DATASTORE_FILE_EXT": '["*.png", "*.bmp"]'}
    with serving(server_python, folder, package, studies, stock_app, **kinds) as server:
        session = hold_session(server, package, studies, labels, folder, max_epochs=2, val_split=0.0)
        session.weights_between = (package / "models" / "model.pt").read_bytes()
        session.later_training = server.train(max_epochs=1, val_split=0.34)
        return session


def test_the_model_is_listed_with_the_value_of_glands_in_its_masks(session: Session) -> None:
    assert session.info["models"]["i2net_histology"]["labels"] == {"gland": 1}


@pytest.mark.parametrize("name", ["testA_1", "testA_2"])
@pytest.mark.parametrize("when", ["first", "second"])
def test_a_reply_is_the_bundles_own_mask(session: Session, name: str, when: str) -> None:
    reply, expected = getattr(session, when)[name], getattr(session, f"expected_{when}")(name)
    assert read(reply).dtype == np.uint8 and read(reply).shape == (96, 128)
    assert agreement(reply, expected) == 1.0
    assert when == "second" or 0.05 < expected.mean() < 0.95


def test_training_ends_well_and_the_next_reply_is_of_the_new_weights(session: Session) -> None:
    assert session.training["status"] == "DONE"
    assert session.weights_between != session.weights_before
    assert agreement(session.second["testA_1"], read(session.first["testA_1"])) < 1.0
    record = json.loads((session.bundle / "runs" / "histology-1" / "publication.json").read_text())
    assert record["published"] and record["validation_cases"] == 0
    assert (session.bundle / "models" / record["kept_as"]).read_bytes() == session.weights_before


def test_a_later_training_is_published_if_it_is_no_worse(session: Session) -> None:
    assert session.later_training["status"] == "DONE"
    record = json.loads((session.bundle / "runs" / "histology" / "publication.json").read_text())
    assert record["validation_cases"] == 1
    assert record["published"] == (record["score"] >= record["score_before"])
    unchanged = (session.bundle / "models" / "model.pt").read_bytes() == session.weights_between
    assert record["published"] != unchanged


def test_a_batch_labels_every_image_that_had_no_label(session: Session) -> None:
    assert session.batch["status"] == "DONE"
    objects = session.datastore["objects"]
    assert {name for name, entry in objects.items() if "original" in entry["labels"]} == {"testA_1", "testA_2"}


@pytest.fixture(scope="module")
def own_app(
    server_python: Path, package: Path, phantoms: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("own_app")
    shutil.copytree(phantoms / "phantoms" / "images", folder / "studies")
    kinds = {"MONAI_LABEL_DATASTORE_FILE_EXT": '["*.png"]', "MONAI_LABEL_AUTO_UPDATE_SCORING": "false"}
    app = ROOT / "scripts" / "monai_label_app"
    with serving(server_python, folder, package, folder / "studies", app, **kinds) as server:
        yield server


def test_the_next_image_is_the_one_with_the_highest_entropy(own_app: Server) -> None:
    key = "entropy_i2net_histology"
    assert key in own_app.info()["scoring"] and key in own_app.info()["strategies"]
    assert own_app.score(key)["status"] == "DONE"
    scores = {name: entry["image"]["info"][key] for name, entry in own_app.datastore()["objects"].items()}
    assert len(scores) == 5 and all(0 < score < 1 for score in scores.values()) and len(set(scores.values())) == 5
    order = sorted(scores, key=scores.__getitem__, reverse=True)
    assert [own_app.next_image(key)["id"] for _ in range(3)] == order[:3]


def test_our_app_serves_the_fast_network_with_the_same_masks(own_app: Server, session: Session, tmp_path: Path) -> None:
    reply = own_app.infer("testA_1", tmp_path / "reply.png")
    expected = predict(session.bundle, [session.images["testA_1"]], tmp_path / "masks")("testA_1")
    assert agreement(reply, expected) == 1.0
