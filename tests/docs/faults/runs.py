"""Faults of running processes: folders in use, full disks, signals, kills, damaged checkpoints and caches."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events

from i2net_bundle.checks.cases import CheckedCases, stop_if_failed
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.io.writing import require_space, staged_folder, written_whole
from i2net_bundle.losses import CrossEntropyDiceLoss, I2NetLoss
from i2net_bundle.networks.tensor_files import save_tensors
from i2net_bundle.training import SegmentationTrainer, TrainingNetwork
from i2net_bundle.training.checkpoints import _newest_readable
from i2net_bundle.workflow.config_check import refuse_unknown_keys
from i2net_bundle.workflow.folder_lock import lock_folder
from i2net_bundle.workflow.run_folders import check_output_dir, check_results_dir
from i2net_bundle.workflow.stopping import Stopped
from tests.checks.ct_files import hu_volume, save
from tests.docs.faults.table import Make, Printed, logged, refused
from tests.docs.pages import ROOT
from tests.networks.small_networks import small_i2net
from tests.training.small_cases import counting, stacked, write_case
from tests.training.test_cache_damage import file_of, one_bit_flipped_in_slice_2


def folder_with(name: str, check: Callable[[Path], object]) -> Make:
    """A folder that holds one file."""

    def make(folder: Path) -> Printed:
        path = folder / "runs" / "synapse" / name
        path.parent.mkdir(parents=True)
        path.touch()
        return refused(lambda: check(folder / "runs" / "synapse"))

    return make


def checkpoints(*contents: bytes | None) -> Callable[[Path], None]:
    """Checkpoints of epochs 1, 2, …: sound ones for None, else with this content."""

    def write(folder: Path) -> None:
        for number, content in enumerate(contents, 1):
            path = folder / "run" / "checkpoints" / f"epoch_{number:04d}.pt"
            save_tensors({"trainer": {"epoch_length": 1}}, path)
            if content is not None:
                path.write_bytes(content)

    return write


def damaged_checkpoint(folder: Path) -> Printed:
    checkpoints(None, b"PK\x03\x04 cut")(folder)
    return logged(lambda: _newest_readable(folder / "run", 1))


def damaged_checkpoints(folder: Path) -> Printed:
    checkpoints(b"", b"PK\x03\x04 cut")(folder)
    return refused(lambda: _newest_readable(folder / "run", 1))


def locked(folder: Path) -> Printed:
    """Another process holds the lock."""
    (folder / "run").mkdir()
    code = f"""
from i2net_bundle.workflow.folder_lock import lock_folder
lock_folder({str(folder / "run")!r})
print("locked", flush=True)
input()
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        printed = refused(lambda: lock_folder(folder / "run"))
        other.communicate("\n")
    return printed


def full_disk(folder: Path) -> Printed:
    def write() -> None:
        with written_whole(folder / "masks" / "a.nii.gz"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return refused(write)


def file_limit(folder: Path) -> Printed:
    def write() -> None:
        with written_whole(folder / "masks" / "a.nii.gz"):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    return refused(write)


def too_little_space(folder: Path) -> Printed:
    return refused(lambda: require_space(folder / "model.pt", 10**18))


def folder_not_empty(folder: Path) -> Printed:
    (folder / "out").mkdir()
    (folder / "out" / "a.txt").touch()

    def write() -> None:
        with staged_folder("out"):
            pass

    return refused(write)


def trainer(batches: list[dict[str, Any]], **how: Any) -> SegmentationTrainer:
    network = small_i2net(2, 3)
    return SegmentationTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=batches,
        network=TrainingNetwork(network),
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        loss_function=I2NetLoss(CrossEntropyDiceLoss(), network.learner_parameters()),
        **how,
    )


def batch(value: float = 0.5) -> dict[str, Any]:
    image = torch.full((2, 1, 16, 16), value)
    return {"image": image, "label": torch.zeros(2, 1, 16, 16, dtype=torch.uint8), "case": ["p1/0", "p2/7"]}


def loss_not_finite(folder: Path) -> Printed:
    return refused(trainer([batch(float("nan"))]).run)


def stopped(number: signal.Signals) -> Make:
    """A training process that receives a signal in its first step."""

    def make(folder: Path) -> Printed:
        run = trainer([batch(), batch(), batch()])
        run.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda engine: os.kill(os.getpid(), number))
        before = signal.signal(number, signal.default_int_handler)

        def stop() -> None:
            with pytest.raises(Stopped) as caught:
                run.run()
            assert caught.value.code == 128 + number

        try:
            return logged(stop)
        finally:
            signal.signal(number, before)

    return make


def damaged_cache(folder: Path) -> Printed:
    case, cache = write_case(folder), folder / "cache"
    counting(cache)[0].read(case)
    one_bit_flipped_in_slice_2(file_of(cache, "image"))
    return logged(lambda: stacked(counting(cache)[0].read(case)))


def one_bad_case(folder: Path) -> Printed:
    good = {"image": save(folder / "a.nii.gz", hu_volume()), "case": "a"}
    bad = {"image": save(folder / "b.nii.gz", hu_volume() + 1024), "case": "b"}
    cases = CheckedCases([good, bad], VolumeOptions(), skip_failed=True)
    return refused(lambda: stop_if_failed(cases, folder / "masks"))


def misspelt_option(folder: Path) -> Printed:
    return refused(lambda: refuse_unknown_keys({"epochs": 1, "epoch": 2, "run": "$@epochs"}))


FAULTS: dict[str, Make] = {
    "output folder in use by a finished run": folder_with("model.pt", lambda folder: check_output_dir(folder, False)),
    "output folder with a run that can be resumed": folder_with(
        "checkpoints/epoch_0001.pt", lambda folder: check_output_dir(folder, False)
    ),
    "nothing to resume": lambda folder: refused(lambda: check_output_dir("runs/synapse", True)),
    "results exist": folder_with("summary.json", lambda folder: check_results_dir(folder, False)),
    "target folder is not empty": folder_not_empty,
    "two writers of one folder": locked,
    "disk full": full_disk,
    "quota, or limit on the size of files": file_limit,
    "too little space for a file of known size": too_little_space,
    "newest checkpoint damaged": damaged_checkpoint,
    "all checkpoints damaged": damaged_checkpoints,
    "SIGTERM in training (exit status 143)": stopped(signal.SIGTERM),
    "Ctrl-C in training (exit status 130)": stopped(signal.SIGINT),
    "loss or gradient is not finite": loss_not_finite,
    "cached slices damaged": damaged_cache,
    "one bad case of many": one_bad_case,
    "misspelt option of a configuration": misspelt_option,
}
