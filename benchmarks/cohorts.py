"""A cohort with broken files, predicted in several ways: equal results, time, memory, and the engine's cost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import torch

import i2net_bundle.prediction.merging
import i2net_bundle.prediction.on_workers  # noqa: F401  imported once here, not in every forked process
from benchmarks.measuring import Setting, Table
from i2net_bundle.cli import main
from i2net_bundle.data import DataDescription
from i2net_bundle.labels import classes_of
from i2net_bundle.networks.tensor_files import save_tensors
from i2net_bundle.transforms import volume_intensity
from i2net_bundle.workflow.dask_engine import Cluster, connected, run_tasks
from i2net_bundle.workflow.recorded_network import build_network
from i2net_bundle.workflow.run_records import NetworkRecord
from i2net_bundle.workflow.run_settings import SettingsRecord

TITLE = "Prediction of a cohort"
TABLES = ("failed.csv", "statistics.csv", "statistics.json", "data_findings.csv")
SIDE, BROKEN, PARTS, STOPS, KILLS = 32, 5, 4, 10, 2
KILLED = f"Dask, 2 workers, one of which is killed {KILLS} times"
_UNET = {"spatial_dims": 2, "in_channels": 1, "out_channels": 3, "channels": [4, 8], "strides": [2]}
_POLL_S = 0.02


@dataclass
class Work:
    """What a way of predicting took.

    Attributes:
        seconds: from the first command to the last.
        memory_mb: most resident memory of all its processes together.
        statuses: exit statuses of its commands.
        notes: what happened on the way.
    """

    seconds: float = 0.0
    memory_mb: float = 0.0
    statuses: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run(self, arguments: list[str], disturb: Callable[[int], None] = lambda process: None) -> dict:
        """Run a command of `i2net` in a forked process and return its JSON answer.

        Args:
            arguments: of the command.
            disturb: called with the process id while it runs.
        """
        started = time.perf_counter()
        with tempfile.TemporaryFile("w+") as printed:
            process = _start([*arguments, "--json"], printed.fileno())
            while True:
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    break
                self.memory_mb = max(self.memory_mb, _memory_mb(process))
                disturb(process)
                time.sleep(_POLL_S)
            printed.seek(0)
            text = printed.read()
        self.seconds += time.perf_counter() - started
        self.statuses.append(os.waitstatus_to_exitcode(status))
        return json.loads(text) if text else {}


def _start(arguments: list[str], output: int) -> int:
    """Fork a process that runs `i2net`; the libraries, whose import takes seconds, are imported already."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.dup2(output, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  it lives as long as the process
        main(arguments)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        os._exit(status)


def make_cohort(folder: Path, number: int, broken: int) -> Path:
    """Write small volumes, of HU with two ellipsoids, into a tree of folders; some of the files are cut off."""
    x, y, z = np.mgrid[:SIDE, :SIDE, :SIDE] - SIDE / 2
    for index in range(number):
        rng = np.random.default_rng(index)
        radii, centre = rng.uniform(5, 11, 3), rng.uniform(-4, 4, 3)
        inside = sum(((v - c) / r) ** 2 for v, c, r in zip((x, y, z), centre, radii, strict=True)) < 1
        body = np.hypot(x, y) < 14
        volume = np.where(inside, 120, np.where(body, 40, -1000)) + rng.normal(0, 10, x.shape)
        path = folder / f"site_{index % 7}" / f"scan_{index:03d}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(volume.astype(np.int16), np.diag([-3.0, -3.0, 3.0, 1.0])), path)
    files = sorted(folder.rglob("*.nii.gz"))
    for path in files[:: len(files) // broken][:broken]:
        path.write_bytes(path.read_bytes()[:1000])
    return folder


def make_weights(folder: Path) -> Path:
    """Write a small network of random weights, with its record."""
    arguments = {
        "task": "ct",
        "description": DataDescription(classes_of(["background", "spleen", "tumour"]), ("CT",), None, None),
        "network": {"target": "monai.networks.nets.UNet", "arguments": _UNET},
        "image_size": [SIDE, SIDE],
        "divisor": 16,
        "intensity": volume_intensity(),
        "training": {"learning_rate": 0.1, "num_learners": 3},
    }
    folder.mkdir(parents=True)
    record = SettingsRecord(folder, resume=False, **arguments).record.as_json()
    (folder / "settings.json").write_text(json.dumps(record))
    torch.manual_seed(0)
    network = build_network(NetworkRecord("monai.networks.nets.UNet", _UNET))
    save_tensors(network.state_dict(), folder / "model.pt")
    return folder / "model.pt"


def run(setting: Setting) -> list[Table]:
    """Predict the cohort in all ways, and compare what they wrote."""
    number, stops = (8, 2) if setting.quick else (200, STOPS)
    root = setting.work_dir / "cohorts"
    shutil.rmtree(root, ignore_errors=True)
    images = make_cohort(root / "tree", number, BROKEN)
    options = [str(images), "--weights", str(make_weights(root / "run")), "--device", "cpu", "--no-pictures"]
    options += ["--threads", "1"]
    ways: dict[str, Callable[[list[str], Path], Work]] = {
        "one process": _one_process,
        f"{PARTS} parts, one after another, merged": _parts,
        "Dask, 1 worker": lambda options, out: _dask(options, out, workers=1, kills=0),
        KILLED: lambda options, out: _dask(options, out, workers=2, kills=KILLS),
        f"stopped {stops} times": lambda options, out: _stopped(options, out, number, stops),
    }
    if setting.quick:
        ways.pop(KILLED)
    rows, expected, seconds = [], None, {}
    for index, (name, way) in enumerate(ways.items()):
        out = root / f"out_{index}"
        work = way(options, out)
        found = results(out)
        expected = expected or found
        differing = [path for path in {**expected, **found} if expected.get(path) != found.get(path)]
        seconds[name] = work.seconds
        same = f"{sum(path.endswith('_mask.nii.gz') for path in found)} masks and all tables"
        rows.append(
            [
                name,
                f"{work.seconds:.0f}",
                f"{work.memory_mb:.0f}",
                ", ".join(map(str, dict.fromkeys(work.statuses))),
                "; ".join(work.notes) or "–",
                same if not differing else f"DIFFERENT: {', '.join(differing[:3])}",
            ]
        )
    note = (
        f"{number} volumes of {SIDE}³ voxels in a tree of folders, {BROKEN} of them cut off, segmented by a network of "
        "almost no work, so that the cost of everything else shows. All with one thread per process. Memory is the sum "
        "over all processes of a way at its highest, in which shared pages count several times. Processes are forked "
        "from one that has imported the libraries, except for Dask's workers. Equal: bytes of all masks, failed.csv, "
        "statistics and findings."
    )
    header = ["way", "s", "memory, MB", "exit statuses", "on the way", "equal to one process"]
    return [Table("One cohort in several ways", header, rows, note), _overhead(root), _engine(setting)]


def _overhead(root: Path) -> Table:
    """Time per image of processes that have started, from the moments when cases.jsonl got its lines."""
    rows = []
    for name, out in (("one process", root / "out_0"), ("Dask, 1 worker", root / "out_2")):
        record = json.loads((out / "prediction.json").read_text())
        inside = sum(record["seconds"].values()) / len(record["status"])
        whole = json.loads(out.with_suffix(".rate.json").read_text())
        rows.append([name, f"{1000 * whole:.0f}", f"{1000 * inside:.0f}", f"{1000 * (whole - inside):.0f}"])
    note = (
        "Mean time from line to line of cases.jsonl, from the first line to the last. Computing is the time that the "
        "record has for the images; the rest is the engine, the line on the disk, and the check of the broken files."
    )
    return Table("Cost per image", ["way", "ms per image", "of which computing", "the rest"], rows, note)


def _engine(setting: Setting) -> Table:
    """Time per task of the process with Dask's client and scheduler, for tasks without work."""
    number = 20 if setting.quick else 400
    with connected(Cluster(workers=2)) as client:
        list(run_tasks(client, abs, {str(index): (index,) for index in range(20)}))
        started, busy = time.perf_counter(), time.process_time()
        list(run_tasks(client, abs, {str(index): (index,) for index in range(number)}))
        wall, cpu = time.perf_counter() - started, time.process_time() - busy
    row = [f"{1000 * wall / number:.0f}", f"{1000 * cpu / number:.1f}"]
    note = f"{number} tasks without work on two workers, started and ended one by one."
    return Table("The engine alone", ["ms per task", "of which processor time of client and scheduler"], [row], note)


class _Rate:
    """Mean time between two lines of cases.jsonl."""

    def __init__(self, out: Path) -> None:
        self.out, self.times = out, []

    def __call__(self, process: int) -> None:
        """Look how many lines there are."""
        lines = count_lines(self.out)
        if lines and (not self.times or lines > self.times[-1][1]):
            self.times.append((time.perf_counter(), lines))

    def write(self) -> None:
        """Write the seconds per line beside the output folder."""
        (first, lines), (last, all_lines) = self.times[0], self.times[-1]
        self.out.with_suffix(".rate.json").write_text(json.dumps((last - first) / max(1, all_lines - lines)))


def _one_process(options: list[str], out: Path) -> Work:
    work, rate = Work(), _Rate(out)
    work.run(["predict", *options, "-o", str(out)], rate)
    rate.write()
    return work


def _parts(options: list[str], out: Path) -> Work:
    work = Work()
    for number in range(1, PARTS + 1):
        answer = work.run(["predict", *options, "-o", str(out), "--part", f"{number}/{PARTS}"])
        work.notes.append(f"{answer['images']} images")
    work.run(["merge", str(out)])
    return work


def _dask(options: list[str], out: Path, workers: int, kills: int) -> Work:
    work, rate = Work(), _Rate(out)
    killed: list[int] = []

    def disturb(process: int) -> None:
        rate(process)
        done = count_lines(out)
        if len(killed) < kills and done >= (len(killed) + 1) * 3:
            found = [item for item in worker_processes(process) if item.pid not in killed]
            if len(found) == workers:  # the one killed before has come back
                found[0].kill()
                killed.append(found[0].pid)
                work.notes.append(f"killed after {done} images")

    work.run(["predict", *options, "-o", str(out), "--workers", str(workers)], disturb)
    rate.write()
    return work


def _stopped(options: list[str], out: Path, number: int, stops: int) -> Work:
    """Stop the command by SIGTERM, SIGINT and SIGKILL in turn, each time some images further; then let it end."""
    work, kinds = Work(), (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
    for turn in range(stops):
        sent: list[int] = []

        def disturb(process: int, turn: int = turn, sent: list[int] = sent) -> None:
            if not sent and count_lines(out) > turn * number // (stops + 2):
                os.kill(process, kinds[turn % len(kinds)])
                sent.append(process)

        work.run(["predict", *options, "-o", str(out), *_again(out)], disturb)
    work.run(["predict", *options, "-o", str(out), *_again(out)])
    work.notes.append("SIGTERM, SIGINT, SIGKILL in turn")
    return work


def _again(out: Path) -> list[str]:
    return ["--continue"] if out.is_dir() else []


def results(out: Path) -> dict[str, bytes]:
    """Content of the masks and tables."""
    files = [path for path in out.rglob("*") if path.name.endswith("_mask.nii.gz") or path.name in TABLES]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def count_lines(out: Path) -> int:
    """Number of the images that are recorded."""
    try:
        return (out / "cases.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def worker_processes(parent: int) -> list[psutil.Process]:
    """Dask's worker processes below a process, the oldest first."""
    found = []
    for child in psutil.Process(parent).children():
        try:
            if any("spawn_main" in word for word in child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.Error:
            continue
    return sorted(found, key=lambda item: item.create_time())


def _memory_mb(pid: int) -> float:
    total = 0
    try:
        parent = psutil.Process(pid)
        for item in (parent, *parent.children(recursive=True)):
            total += item.memory_info().rss
    except psutil.Error:
        pass
    return total / 2**20
