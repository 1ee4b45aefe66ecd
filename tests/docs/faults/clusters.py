"""Faults of lists, parts and workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ignite.distributed as idist
import pytest
import torch
from ignite.engine import Events

from i2net_bundle.io.writing import DiskFullError
from i2net_bundle.prediction import on_workers
from i2net_bundle.prediction.case_files import Extras
from i2net_bundle.prediction.cohort import predict_files
from i2net_bundle.prediction.inputs import find_inputs
from i2net_bundle.prediction.merging import merge_parts
from i2net_bundle.prediction.on_workers import Same, Setup, require_same
from i2net_bundle.prediction.parts import Part
from i2net_bundle.training import EpochBatches, EpochSampler, SegmentationTrainer, TrainingNetwork
from i2net_bundle.training.checkpoints import _require_agreement
from i2net_bundle.workflow import dask_engine
from i2net_bundle.workflow.dask_engine import Cluster, connected, num_threads, run_tasks
from i2net_bundle.workflow.processes import require_joinable_restarts
from tests.docs.faults.prediction import scan, small_predictor
from tests.docs.faults.table import ERROR, Make, Printed, refused
from tests.networks.small_networks import small_i2net
from tests.workflow.engine_tasks import task
from tests.workflow.test_dask_engine import NoWorkers


def listed(name: str, content: str) -> Make:
    """A list of images."""

    def make(folder: Path) -> Printed:
        (folder / name).write_text(content, encoding="utf-8")
        return refused(lambda: find_inputs([name], volumes=True))

    return make


def two_parts(spoil: Callable[[Path], object], then: Callable[[Any], object]) -> Make:
    """Two parts of a cohort, of which something is changed."""

    def make(folder: Path) -> Printed:
        for name in "abcd":
            scan(folder, name)
        network = small_predictor(folder)
        for number in (1, 2):
            predict_files(["scans"], "masks", network, pictures=False, part=Part(number, 2))
        spoil(folder / "masks")
        return refused(lambda: then(network))

    return make


def merged(network: Any) -> None:
    merge_parts("masks")


def changed(number: int, **values: Any) -> Callable[[Path], None]:
    """Change the record of a part."""

    def change(masks: Path) -> None:
        path = masks / f"part_{number}_of_2" / "prediction.json"
        content = json.loads(path.read_text())
        part = content["part"] | values.pop("part", {})
        path.write_text(json.dumps(content | {"part": part} | values))

    return change


def whole_done(folder: Path) -> Printed:
    scan(folder)
    network = small_predictor(folder)
    predict_files(["scans"], "masks", network, pictures=False)
    return refused(lambda: predict_files(["scans"], "masks", network, part=Part(1, 2)))


def lost_part(masks: Path) -> None:
    for path in (masks / "part_1_of_2").iterdir():
        path.unlink()
    (masks / "part_1_of_2").rmdir()


def unreachable_scheduler(folder: Path) -> Printed:
    pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    dask = pytest.importorskip("dask")

    def connect() -> None:
        with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), connected(Cluster("tcp://127.0.0.1:9")):
            pass

    return refused(connect)


def lost_scheduler(folder: Path) -> Printed:
    """Any answer of the client is this error once its scheduler is away; `test_dask_engine` kills a real one."""
    client_module = pytest.importorskip("distributed.client", reason="needs the extra 'cluster'")

    class Lost(NoWorkers):
        def nthreads(self) -> dict[str, int]:
            raise client_module.FutureCancelledError("a", "scheduler-connection-lost")

    return refused(lambda: list(run_tasks(Lost(), task, {"a": ("a",)})))


def no_worker_left(folder: Path) -> Printed:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dask_engine, "_PATIENCE_S", 0.1)
        return refused(lambda: list(run_tasks(NoWorkers(), task, {"a": ("a",)})))


def killed_by_image(folder: Path) -> Printed:
    """What the engine makes of the error by which Dask gives a task up; `test_dask_engine` kills real workers."""
    distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster'")

    class Worker:
        address = "tcp://10.0.0.7:40001"

    class Given:
        status = "error"

        def exception(self) -> Exception:
            error: Exception = distributed.KilledWorker("a", Worker(), 2)
            return error

    return Printed(ERROR, str(dask_engine._result(Given())))


def full_disk_of_worker(folder: Path) -> Printed:
    path, network = scan(folder), small_predictor(folder)

    def fill(*_: Any) -> None:
        raise DiskFullError("masks/ct_mask.nii.gz was not written: the disk is full.")

    setup = Setup({"weights": str(network.trained.weights[0])}, str(folder))
    same = on_workers.describe_worker(setup)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_workers, "predict_case", fill)
        case = {"case": "ct", "image": str(path), "shown": str(path)}
        return refused(lambda: on_workers.segment(setup, same, case, folder / "masks", Extras(pictures=False)))


def other_versions(folder: Path) -> Printed:
    expected, found = (Same({}, {"torch": version}) for version in ("2.9.0", "2.6.0"))
    return refused(lambda: require_same(expected, found, "Worker on node7, process 812"))


def in_training(processes: int, call: Callable[[Path], object]) -> Make:
    """A call in one of several processes of a training."""

    def make(folder: Path) -> Printed:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(idist, "get_world_size", lambda: processes)
            patch.setattr(idist, "all_gather", lambda iteration: [iteration, 0])
            return refused(lambda: call(folder))

    return make


def resumed_elsewhere(folder: Path) -> None:
    engine: Any = SimpleNamespace(state=SimpleNamespace(iteration=40))
    _require_agreement(Path("run/checkpoints/epoch_0002.pt"), engine)


def lost_process(folder: Path) -> None:
    def lose() -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer [10.0.0.7]:4001")

    network = small_i2net()
    trainer = SegmentationTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[{}],
        network=TrainingNetwork(network),
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=torch.nn.Identity(),
    )
    trainer.add_event_handler(Events.EPOCH_STARTED, lose)
    trainer.run()


def joinless_restarts(folder: Path) -> Printed:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
        patch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
        return refused(require_joinable_restarts)


FAULTS: dict[str, Make] = {
    "list without the column of the images": listed("cases.csv", "patient,ct\n1,a.nii.gz\n"),
    "list that names nothing": listed("cases.txt", "# no case yet\n"),
    "JSON that is no list": listed("cases.json", '{"test": []}'),
    "folder of a list that does not exist": listed("cases.txt", "# patients\np1\n"),
    "pattern that matches nothing": lambda folder: refused(lambda: find_inputs(["scans/*.nii.gz"], volumes=True)),
    "part 0": lambda folder: refused(lambda: Part.parse("0/16")),
    "part beyond the last": lambda folder: refused(lambda: Part.parse("17/16")),
    "part of another division": two_parts(
        lambda masks: None, lambda network: predict_files(["scans"], "masks", network, part=Part(1, 3))
    ),
    "whole cohort beside parts": two_parts(
        lambda masks: None, lambda network: predict_files(["scans"], "masks", network, resume=True)
    ),
    "part beside a whole cohort": whole_done,
    "part missing in a merge": two_parts(lost_part, merged),
    "part not complete": two_parts(changed(2, complete=False), merged),
    "parts of other inputs": two_parts(changed(2, part={"cohort": 5, "cohort_sha256": "0"}), merged),
    "parts of other settings": two_parts(changed(2, pictures=True), merged),
    "scheduler that does not answer": unreachable_scheduler,
    "scheduler without workers": lambda folder: refused(lambda: num_threads(NoWorkers())),
    "scheduler that goes away": lost_scheduler,
    "no worker left": no_worker_left,
    "image that kills its workers": killed_by_image,
    "disk of a worker full": full_disk_of_worker,
    "worker with other versions": other_versions,
    "fewer slices than processes": in_training(4, lambda folder: EpochBatches(range(3), batch_size=1)),
    "several processes without `multi_gpu_train.yaml`'s data loader": in_training(
        2, lambda folder: EpochSampler(range(9))
    ),
    "nodes that see different checkpoints": in_training(2, resumed_elsewhere),
    "restarts with one store": joinless_restarts,
    "training process lost": in_training(2, lost_process),
}
