"""Training, evaluation and inference share one preprocessing and one network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from i2net_bundle.data.phantoms import make_ct_phantoms, make_gland_phantoms
from i2net_bundle.packaging import Weights, package_bundle

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("task", ["ct", "histology"])
def test_monai_label_and_monai_bundle_run_give_equal_logits(task: str, server_python: Path, tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text('{"image_size": [64, 64]}')
    bundle = package_bundle(task, tmp_path / "bundle", Weights(seed=1), [tmp_path / "small.json"])
    if task == "ct":
        make_ct_phantoms(tmp_path / "data", 0, 0, 1, shape=(40, 48, 6), spacing_mm=(9, 8, 40))
        images = tmp_path / "data" / "imagesTs"
    else:
        make_gland_phantoms(tmp_path / "data", 0, 0, 1, size=(72, 100))
        images = tmp_path / "data" / "images"
    script = Path(__file__).with_name("logits_both_ways.py")
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(server_python), str(script), str(bundle), str(images), str(tmp_path / "out.npz")]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-4000:]
    with np.load(tmp_path / "out.npz") as out:
        padded = (6, 9, 64, 64) if task == "ct" else (1, 1, 96, 128)  # to multiples of 16 and 32
        assert out["served_logits"].shape == padded
        assert np.ptp(out["served_logits"]) > 0.1
        # the workflow lays images out with channels last, MONAI Label does not: sums differ in their last digits
        np.testing.assert_allclose(out["served_logits"], out["ran_logits"], rtol=1e-4, atol=1e-5)
        assert np.array_equal(out["served_label"], out["ran_label"])
