"""The study of kills finds what a kill leaves, and a short one finds nothing in this package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from i2net_bundle.io.writing import TEMPORARY
from i2net_bundle.networks.tensor_files import save_tensors
from scripts.kill_study import Writes
from scripts.run_results import differences, unreadable
from tests.child_processes import CHILD_PATH

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal results."""
    for name in ("found", "expected"):
        folder = tmp_path / name
        folder.mkdir()
        save_tensors({"weight": torch.ones(3)}, folder / "model.pt")
        (folder / "training.csv").write_text(f"epoch,seconds,loss\n1,{len(name)},0.5\n")
        (folder / "summary.json").write_text(f'{{"seconds": {len(name)}, "dice": 0.5}}')
        (folder / "cases.jsonl").write_text(f'{{"case": "a", "seconds": {len(name)}}}\n')
    return tmp_path / "found", tmp_path / "expected"


def test_results_that_differ_only_in_their_times_are_equal(folders: tuple[Path, Path]) -> None:
    assert differences(*folders) == []
    assert unreadable(folders[0]) == []


def test_weights_that_differ_in_one_bit_are_found(folders: tuple[Path, Path]) -> None:
    save_tensors({"weight": torch.tensor([1, 1, 1 + 2**-23])}, folders[0] / "model.pt")
    assert differences(*folders) == ["model.pt differs"]


def test_missing_changed_and_left_over_files_are_found(folders: tuple[Path, Path]) -> None:
    found, _ = folders
    (found / "summary.json").unlink()
    (found / "training.csv").write_text("epoch,seconds,loss\n1,5,0.25\n")
    (found / f"{TEMPORARY}1234.pt").touch()
    (found.parent / f"{TEMPORARY}folder").mkdir()
    assert differences(*folders) == [
        "summary.json is missing",
        f"{TEMPORARY}1234.pt is left over",
        f"{TEMPORARY}folder is left over",
        "training.csv differs",
    ]


def test_files_that_cannot_be_read_are_found_under_their_final_names_only(folders: tuple[Path, Path]) -> None:
    (folders[0] / "model.pt").write_bytes(b"half a file")
    (folders[0] / f"{TEMPORARY}1234.pt").write_bytes(b"half a file")
    assert unreadable(folders[0]) == ["model.pt (TensorFileError)"]


def test_temporary_files_are_counted_once(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / f"{TEMPORARY}earlier").touch()
    writes = Writes(tmp_path / "run")
    assert writes.update() == 0
    (tmp_path / "run" / "checkpoints" / f"{TEMPORARY}a.pt").touch()
    (tmp_path / f"{TEMPORARY}folder").mkdir()
    assert [writes.update(), writes.update()] == [2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["kill", "term", "full"])
def test_a_short_study_of_preparation_ends_as_an_undisturbed_run(fault: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.kill_study", "--command", "preparation", "--fault", fault]
    done = subprocess.run(
        [*command, "--kills", "2", "--out", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": CHILD_PATH},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "each ended as the undisturbed run" in done.stdout
