"""Weights that come with the bundle: which are taken unasked, and what happens if they are not those that came."""

from __future__ import annotations

import logging
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2net_bundle.cli import main
from i2net_bundle.io.writing import file_sha256
from i2net_bundle.packaging import Weights, package_bundle
from i2net_bundle.prediction.predict import predict
from i2net_bundle.tasks import TASKS
from i2net_bundle.workflow import shipped_weights as module
from i2net_bundle.workflow.config_files import bundle_root
from i2net_bundle.workflow.run_records import RunRecord, run_record, write_record
from i2net_bundle.workflow.shipped_weights import CHECKSUMS, default_weights, shipped_weights
from scripts import ship_weights

LARGEST_BYTES = 25e6
SHIPPED = [name for name, task in TASKS.items() if task.shipped_weights]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Root of a bundle with the gland weights and no others."""
    shutil.copytree(bundle_root() / "models" / "glands", tmp_path / "models" / "glands")
    monkeypatch.setattr(module, "bundle_root", lambda: tmp_path)
    return tmp_path


def own_weights(root: Path, task: str | None) -> Path:
    path = root / "models" / "model.pt"
    path.write_bytes(b"own")
    if task is not None:
        write_record(RunRecord(task=task), path.parent)
    return path


@pytest.mark.parametrize("task", SHIPPED)
def test_shipped_weights_match_their_checksums_and_name_data_and_terms(task: str) -> None:
    shipped = shipped_weights(task, bundle_root())
    assert shipped is not None
    assert shipped.checked().stat().st_size <= LARGEST_BYTES
    record = run_record(shipped.path)
    assert record.task == task and record.training_data and record.data_licence


def test_only_histology_has_weights() -> None:
    assert SHIPPED == ["histology"]
    assert shipped_weights("ct", bundle_root()) is None and shipped_weights(None, bundle_root()) is None


def test_without_other_weights_those_of_the_task_are_taken(root: Path) -> None:
    assert default_weights("histology") == root / "models" / "glands" / "model.pt"
    for task in ("ct", "mr", None):
        assert default_weights(task) == root / "models" / "model.pt"


@pytest.mark.parametrize("recorded", ["histology", None])
def test_ones_own_weights_come_first(root: Path, recorded: str | None) -> None:
    own = own_weights(root, recorded)
    assert default_weights("histology") == own


def test_ones_own_weights_of_another_task_do_not_hide_the_shipped_ones(root: Path) -> None:
    own = own_weights(root, "ct")
    assert default_weights("histology") == root / "models" / "glands" / "model.pt"
    assert default_weights("ct") == own


def test_a_packaged_bundle_uses_its_own_weights(root: Path, tmp_path: Path) -> None:
    own = tmp_path / "package" / "models" / "model.pt"
    assert default_weights("histology", tmp_path / "package") == own  # even if they are missing, which is an error


@pytest.mark.parametrize("name", ["model.pt", "settings.json"])
def test_changed_files_are_refused_with_a_remedy(root: Path, name: str) -> None:
    path = root / "models" / "glands" / name
    path.write_bytes(path.read_bytes() + b" ")
    message = f"{path} is not the file that came with the bundle: it has SHA-256 {file_sha256(path)}"
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        default_weights("histology")
    assert "git checkout" in str(raised.value)


@pytest.mark.parametrize("name", ["model.pt", "settings.json"])
def test_missing_files_are_refused(root: Path, name: str) -> None:
    path = root / "models" / "glands" / name
    path.unlink()
    with pytest.raises(ValueError, match=re.escape(f"{path} is not the file that came with the bundle: it is missing")):
        default_weights("histology")


@pytest.mark.parametrize("content", [None, "", "0123 model.pt\n", "no checksums here, nor names\n"])
def test_checksums_must_list_both_files(root: Path, content: str | None) -> None:
    path = root / "models" / "glands" / CHECKSUMS
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ValueError, match=re.escape(f"{path} does not list the checksums")):
        default_weights("histology")


def test_an_image_is_segmented_unasked_and_the_terms_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = tmp_path / "slide.png"
    noise = np.random.default_rng(0).integers(160, 240, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(image)
    with caplog.at_level(logging.INFO, logger="i2net"):
        result = predict(image, task="histology")
    assert result.mask.shape == (96, 128)
    terms = [line for line in caplog.messages if "research only" in line]
    assert len(terms) == 1 and "trained on GlaS, 85 cases" in terms[0]


def test_real_glands_are_found(shared: Path) -> None:
    for number in (1, 7, 40):  # training images: this shows that the file is not garbage, not how good it is
        truth = np.asarray(Image.open(shared / "data" / "glas" / f"train_{number}_anno.png")) > 0
        found = np.asarray(predict(shared / "data" / "glas" / f"train_{number}.png", task="histology").mask) > 0
        assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.9


def test_without_a_task_the_message_names_it(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="for histology, pass --task histology"):
        predict("slide.png")


def test_packages_contain_them_unasked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="i2net"):
        main(["package", "histology", "--out", str(tmp_path / "glands")])
    assert any("research only" in line for line in caplog.messages)
    named = package_bundle("histology", tmp_path / "named", Weights(default_weights("histology")))
    assert file_sha256(named / "models" / "model.pt") == file_sha256(tmp_path / "glands" / "models" / "model.pt")
    assert run_record(tmp_path / "glands" / "models" / "model.pt").data_licence


def test_a_package_of_ct_needs_weights(tmp_path: Path) -> None:
    if default_weights("ct").is_file():
        pytest.skip("this checkout has CT weights in models/")
    with pytest.raises(SystemExit, match="No weights at"):
        main(["package", "ct", "--out", str(tmp_path / "ct")])


def test_shipping_weights_again_gives_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    source = bundle_root() / "models" / "glands"
    (tmp_path / "images").mkdir()
    blank = np.full((64, 64, 3), 200, np.uint8)
    Image.fromarray(blank).save(tmp_path / "images" / "blank.png")
    arguments = ["ship_weights", str(source), str(tmp_path / "out"), "--images", str(tmp_path / "images")]
    monkeypatch.setattr(sys, "argv", arguments)
    ship_weights.main()
    assert "at least 1.00000, 1 image\n" in capsys.readouterr().out
    for name in ("model.pt", "settings.json", CHECKSUMS):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()


def test_weights_whose_masks_change_in_half_precision_are_not_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    monkeypatch.setattr(ship_weights, "agreement", lambda *files: [1.0, 0.9])
    source = str(bundle_root() / "models" / "glands")
    arguments = ["ship_weights", source, str(tmp_path / "out"), "--images", str(tmp_path / "images")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit):
        ship_weights.main()
    assert not (tmp_path / "out").exists()
