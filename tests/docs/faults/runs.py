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

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events

from i2net_bundle.checks.cases import CheckedCases, stop_if_failed
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.io.writing import require_space, staged_folder, written_whole
from i2net_bundle.losses import CrossEntropyDiceLoss, I2NetLoss
from i2net_bundle.networks import I2Net
from i2net_bundle.networks.tensor_files import save_tensors
from i2net_bundle.prepare.sources import one_at_a_time
from i2net_bundle.training import SegmentationTrainer, TrainingNetwork
from i2net_bundle.training.checkpoints import _newest_readable
from i2net_bundle.workflow.config_check import refuse_unknown_keys
from i2net_bundle.workflow.folder_lock import lock_folder
from i2net_bundle.workflow.run_folders import check_output_dir, check_results_dir
from i2net_bundle.workflow.stopping import Stopped
from tests.checks.ct_files import hu_volume, save
from tests.child_processes import CHILD_PATH
from tests.docs.faults.table import Make, Printed, logged, refused
from tests.networks.small_networks import small_i2net
from tests.training.runs import DeadlySlices, KilledError, run_maker
from tests.training.small_cases import counting, stacked, write_case
from tests.training.test_cache_damage import file_of, one_bit_flipped_in_slice_2


def folder_with(name: str, check: Callable[[Path], object]) -> Make:
    """A folder that contains one file."""

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


def empty_checkpoint(folder: Path) -> Printed:
    checkpoints(None, b"")(folder)
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
    environment = os.environ | {"PYTHONPATH": CHILD_PATH}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, encoding="utf-8"
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        printed = refused(lambda: lock_folder(folder / "run"))
        other.communicate("\n")
    return printed


def not_writable(folder: Path) -> Printed:
    (folder / "file").touch()
    return refused(lambda: check_output_dir("file/run", False))


def changed_file(folder: Path) -> Printed:
    """A cached file changes; the cache reads it again."""
    case, cache = write_case(folder), folder / "cache"
    counting(cache)[0].read(case)
    image = Path(case["image"])
    save(image, np.asarray(nib.load(image).dataobj) + 1, nib.load(image).affine)
    again, decoded = counting(cache)
    printed = logged(lambda: again.read(case))
    assert decoded.calls == 1
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


def network(seed: int = 0, num_classes: int = 3) -> I2Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return small_i2net(2, num_classes)


def trainer(
    net: I2Net, batches: Any, optimizer: torch.optim.Optimizer | None = None, max_epochs: int = 1, **how: Any
) -> SegmentationTrainer:
    return SegmentationTrainer(
        device=torch.device("cpu"),
        max_epochs=max_epochs,
        train_data_loader=batches,
        network=TrainingNetwork(net),
        optimizer=optimizer or torch.optim.SGD(net.parameters(), lr=0.01),
        loss_function=I2NetLoss(CrossEntropyDiceLoss(), net.learner_parameters()),
        **how,
    )


def batch(value: float = 0.5) -> dict[str, Any]:
    image = torch.full((2, 1, 16, 16), value)
    return {"image": image, "label": torch.zeros(2, 1, 16, 16, dtype=torch.uint8), "case": ["p1/0", "p2/7"]}


def loss_not_finite(folder: Path) -> Printed:
    return refused(trainer(network(), [batch(float("nan"))]).run)


def stopped(number: signal.Signals) -> Make:
    """A training process that receives a signal in its first step."""

    def make(folder: Path) -> Printed:
        run = trainer(network(), [batch(), batch(), batch()])
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


def too_large_batch(folder: Path) -> Printed:
    net = network()

    def refuse(*_: Any) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    net.forward_with_gates = refuse  # type: ignore[method-assign, assignment]
    return refused(trainer(net, [batch()], accumulation_steps=2).run)


def resumed(change: dict[str, Any], kill_at: int = 3, **how: Any) -> Make:
    """A killed run of one batch per epoch that is resumed with something else."""

    def make(folder: Path) -> Printed:
        make_run = run_maker(folder / "data", network, trainer)
        own = {"batch_size": 12, "max_epochs": 4, **how}
        with pytest.raises(KilledError):
            make_run(folder / "run", kill_at=kill_at, **own).trainer.run()
        return refused(make_run(folder / "run", resume=True, **(own | change)).trainer.run)

    return make


def missing_checkpoint(folder: Path) -> Printed:
    checkpoints(None, None)(folder)
    (folder / "run" / "checkpoints" / "epoch_0002.pt").unlink()
    (folder / "run" / "training.csv").write_text("epoch,loss\n1,0.5\n2,0.4\n")
    return logged(lambda: _newest_readable(folder / "run", 1))


def killed_worker(folder: Path) -> Printed:
    run = run_maker(folder / "data", network, trainer)(folder / "run", num_workers=1, max_epochs=1)
    loader: Any = run.trainer.data_loader
    loader.dataset.cases = [DeadlySlices(slices, len(slices) - 1) for slices in loader.dataset.cases]
    return refused(run.trainer.run)


def stopped_preparation(folder: Path) -> Printed:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def stop() -> None:
        with pytest.raises(Stopped):
            for _ in one_at_a_time([1, 2], "case"):
                os.kill(os.getpid(), signal.SIGTERM)

    try:
        return logged(stop)
    finally:
        signal.signal(signal.SIGTERM, before)


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
    "output folder with a run that cannot be resumed": folder_with(
        "model.pt", lambda folder: check_output_dir(folder, False)
    ),
    "output folder with a run that can be resumed": folder_with(
        "checkpoints/epoch_0001.pt", lambda folder: check_output_dir(folder, False)
    ),
    "nothing to resume": lambda folder: refused(lambda: check_output_dir("runs/synapse", True)),
    "output folder not writable": not_writable,
    "results exist": folder_with("summary.json", lambda folder: check_results_dir(folder, False)),
    "target folder is not empty": folder_not_empty,
    "two writers of one folder": locked,
    "disk full": full_disk,
    "quota, or limit on the size of files": file_limit,
    "too little space for a file of known size": too_little_space,
    "newest checkpoint damaged": damaged_checkpoint,
    "newest checkpoint empty": empty_checkpoint,
    "newest checkpoint missing": missing_checkpoint,
    "all checkpoints damaged": damaged_checkpoints,
    "SIGTERM in training (exit status 143)": stopped(signal.SIGTERM),
    "Ctrl-C in training (exit status 130)": stopped(signal.SIGINT),
    "SIGTERM or Ctrl-C in a preparation": stopped_preparation,
    "resumed with another optimizer, loss, network or transform": resumed(
        {"settings": {"optimizer::momentum": "0.5"}}, settings={"optimizer::momentum": "0.9"}
    ),
    "resumed with other images or labels": resumed(
        {"settings": {"training case 1": "0123"}}, settings={"training case 1": "abcd"}
    ),
    "resumed with another number of epochs": resumed({"max_epochs": 6}),
    "resumed with another batch size": resumed({"batch_size": 5}),
    "loss or gradient is not finite": loss_not_finite,
    "data-loading process killed": killed_worker,
    "batch too large for the memory": too_large_batch,
    "cached slices damaged": damaged_cache,
    "cached file or reading option changed": changed_file,
    "one bad case among others": one_bad_case,
    "misspelt configuration option": misspelt_option,
}
