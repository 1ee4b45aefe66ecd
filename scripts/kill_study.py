"""Kill a command again and again, run it to its end, and compare what it wrote with an undisturbed run.

python -m scripts.kill_study --command training --kills 100 --out study, in the checkout

Commands: training, prediction, evaluation, preparation, caching. Faults: kill (SIGKILL), term (SIGTERM), full (no file
can grow past a random size, which stands for a full disk), memory (a limit little above what the process has). Half of
the signals come at a random time, half during a write, while a temporary file exists. Phantoms and one thread suffice.
A study that was stopped continues; each fault depends only on the seed and its number. Needs Linux or macOS.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process with threads cannot be forked safely

import argparse
import atexit
import json
import random
import resource
import runpy
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from tqdm import tqdm

import i2net_bundle.cli
import i2net_bundle.evaluation
import i2net_bundle.prediction
import i2net_bundle.reports
import i2net_bundle.training  # noqa: F401  imported once here, not in every forked process
from i2net_bundle.data.phantoms import make_ct_phantoms
from i2net_bundle.io.writing import TEMPORARY
from i2net_bundle.workflow.config_files import bundle_root, config_files
from i2net_bundle.workflow.folder_lock import contains_results
from i2net_bundle.workflow.run_folders import checkpoints
from scripts.run_results import differences, unreadable

FAULTS_PER_RUN = 6
_NETWORK = "network_def::channels: [16, 32, 64, 64, 64]\n"

Command = Callable[[Path], list[str]]
"""Module and arguments for an output folder, which differ after a fault as a user's would; empty: nothing to do."""


@dataclass
class Fault:
    """One fault and what it left.

    Attributes:
        number: from 1.
        run: number of the run that it disturbed.
        moment: "time" or "write".
        seconds: since the command started.
        status: exit status of the command; negative for a signal.
        unreadable: files under their final names that cannot be read.
    """

    number: int
    run: int
    moment: str
    seconds: float
    status: int
    unreadable: str


def studies(out: Path) -> dict[str, Command]:
    """The commands by name, training first: prediction and evaluation need its weights."""
    data, trained = out / "data", out / "training" / "expected"
    overlay = out / "network.yaml"
    names = config_files("train.json", "unet.yaml"), config_files("evaluate.json", "unet.yaml")
    train, evaluate = ([*files, str(overlay)] for files in names)
    common = ["--bundle_root", str(bundle_root()), "--dataset_dir", str(data), "--device", "cpu"]
    small = ["--image_size", "[32,32]", "--batch_size", "4", "--num_workers", "0", "--val_interval", "2"]

    def training(folder: Path, *options: str) -> list[str]:
        resume = ["--resume", "true"] if checkpoints(folder) else []
        start = ["monai.bundle", "run", "training", "--config_file", str(train), *common, *small]
        return [*start, "--output_dir", str(folder), *options, *resume]

    def caching(folder: Path) -> list[str]:
        return training(folder / "run", "--cache_dir", str(folder / "cache"), "--epochs", "1")

    def prediction(folder: Path) -> list[str]:
        again = ["--continue"] if contains_results(folder) else []
        images, weights = str(data / "imagesTs"), str(trained / "model.pt")
        return ["i2net_bundle", "predict", images, "-o", str(folder), "--weights", weights, "--device", "cpu", *again]

    def evaluation(folder: Path) -> list[str]:
        again = ["--overwrite", "true"] if contains_results(folder) else []
        start = ["monai.bundle", "run", "evaluating", "--config_file", str(evaluate), *common]
        return [*start, "--weights", str(trained / "model.pt"), "--results_dir", str(folder), *again]

    def preparation(folder: Path) -> list[str]:
        if contains_results(folder):
            return []
        return ["i2net_bundle", "prepare", "synapse", str(data), "--out", str(folder)]

    return {
        "training": lambda folder: training(folder, "--epochs", "4"),
        "caching": caching,
        "prediction": prediction,
        "evaluation": evaluation,
        "preparation": preparation,
    }


def start(arguments: Sequence[str], log: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Fork a process that runs a module as ``python -m`` does; returns its id, which is also that of its group."""
    sys.stdout.flush()
    process = os.fork()
    os.setpgid(process, process)  # in both processes: whichever comes first
    if process:
        return process
    status = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.argv = list(arguments)
        prepare()
        try:
            runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def wait(process: int, until: Callable[[], bool] = lambda: False) -> int | None:
    """Wait for the end of a process or for a moment; returns its exit status, or None at the moment."""
    while not until():
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


class Writes:
    """Counts the temporary files that appear in a folder and beside it.

    Args:
        folder: the output folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, self._present(folder)
        self.count = 0

    def update(self) -> int:
        """Look, and return how many have appeared."""
        new = self._present(self.folder) - self.seen
        self.seen |= new
        self.count += len(new)
        return self.count

    @staticmethod
    def _present(folder: Path) -> set[str]:
        found = {entry.path for entry in os.scandir(folder.parent) if entry.name.startswith(TEMPORARY)}
        for place, folders, files in os.walk(folder):
            found |= {os.path.join(place, name) for name in (*folders, *files) if name.startswith(TEMPORARY)}
        return found


def disturb(
    study: Command, folder: Path, log: Path, fault: str, rng: random.Random, seconds: float, writes: int
) -> tuple[str, float, int, bool]:
    """Run a command with a fault; returns the moment, the seconds, the exit status and whether the fault came."""
    moment = rng.choice(("time", "write"))
    delay, number, pause = (
        rng.uniform(0, seconds),
        rng.randint(1, max(1, writes)),
        rng.choice((0, rng.uniform(0, 0.02))),
    )
    limits: dict[str, tuple[int, int]] = {
        "full": (resource.RLIMIT_FSIZE, int(10 ** rng.uniform(1, 7.3))),
        "memory": (resource.RLIMIT_AS, psutil.Process().memory_info().vms + int(rng.uniform(1, 400) * 2**20)),
    }
    if fault in limits:
        kind, limit = limits[fault]
        began = time.perf_counter()
        process = start(study(folder), log, lambda: resource.setrlimit(kind, (limit, limit)))
        status = wait(process)
        assert status is not None
        return "limit", time.perf_counter() - began, status, status != 0
    watch, began = Writes(folder), time.perf_counter()
    process = start(study(folder), log)

    def now() -> bool:
        return time.perf_counter() - began >= delay if moment == "time" else watch.update() >= number

    ended = wait(process, now)
    if ended is not None:
        return moment, time.perf_counter() - began, ended, False
    if moment == "write":
        time.sleep(pause)
    elapsed = time.perf_counter() - began
    os.killpg(process, signal.SIGKILL if fault == "kill" else signal.SIGTERM)
    status = wait(process)
    assert status is not None
    return moment, elapsed, status, True


def expected_results(study: Command, folder: Path) -> tuple[float, int]:
    """Run a command undisturbed, once; returns its seconds and its number of writes."""
    measured = folder.with_name("expected.json")
    if not measured.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        watch, began = Writes(folder), time.perf_counter()
        status = wait(start(study(folder), folder.with_name("expected.log")), lambda: watch.update() < 0)
        if status != 0:
            sys.exit(f"The undisturbed run failed with status {status}: see {folder.with_name('expected.log')}.")
        measured.write_text(json.dumps([time.perf_counter() - began, watch.count]))
    seconds, writes = json.loads(measured.read_text())
    return seconds, writes


def run_study(command: str, fault: str, count: int, seed: int, out: Path) -> int:
    """Disturb a command until it has had ``count`` faults; returns the number of runs that went wrong."""
    found = studies(out)
    if not (out / "data" / "dataset.json").is_file():
        shutil.rmtree(out / "data", ignore_errors=True)
        make_ct_phantoms(out / "data", 2, 1, 3, shape=(32, 32, 8), spacing_mm=(12, 12, 30))
        (out / "network.yaml").write_text(_NETWORK)
    if command in ("prediction", "evaluation"):
        expected_results(found["training"], out / "training" / "expected")
    study, place = found[command], out / command
    seconds, writes = expected_results(study, place / "expected")
    table = place / f"{fault}.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()] if table.is_file() else []
    done, runs = sum("number" in row for row in rows), sum("end" in row for row in rows)
    wrong = sum(bool(row.get("end") or row.get("unreadable")) for row in rows)
    bar = tqdm(total=count, initial=min(done, count), desc=f"{fault}: {command}", unit="fault", disable=None)
    with table.open("a", encoding="utf-8") as file:

        def tell(row: dict[str, Any]) -> None:
            file.write(json.dumps(row) + "\n")
            file.flush()

        while done < count:
            folder, log = place / f"{fault}_{runs + 1}", place / f"{fault}_{runs + 1}.log"
            status: int | None = None
            for _ in range(FAULTS_PER_RUN):
                if not study(folder):
                    break
                rng = random.Random(f"{seed}/{command}/{fault}/{done + 1}/{runs}")
                moment, elapsed, status, came = disturb(study, folder, log, fault, rng, seconds, writes)
                if not came:
                    break
                done, broken = done + 1, unreadable(folder)
                wrong += bool(broken)
                tell(asdict(Fault(done, runs + 1, moment, round(elapsed, 3), status, "; ".join(broken))))
                bar.update()
                status = None
                if done >= count:
                    break
            if status is None:
                status = wait(start(arguments, log)) if (arguments := study(folder)) else 0
            problems = [f"exit status {status}"] if status else differences(folder, place / "expected")
            wrong, runs = wrong + bool(problems), runs + 1
            tell({"run": runs, "end": "; ".join(problems)})
            if problems:
                tqdm.write(f"{folder}: {'; '.join(problems)}; see {log}")
            else:
                shutil.rmtree(folder)
                log.unlink()
    bar.close()
    outcome = "each ended as the undisturbed run" if not wrong else f"{wrong} problems, see {table}"
    print(f"{command}: {done} faults ({fault}) in {runs} runs: {outcome}")
    return wrong


def main() -> None:
    """Read the command line and run the studies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", choices=[*studies(Path()), "all"], default="training")
    parser.add_argument("--fault", choices=["kill", "term", "full", "memory"], default="kill")
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="number of faults (default 100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder to work in; a study found there goes on")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out = arguments.out.absolute()
    chosen = list(studies(out)) if arguments.command == "all" else [arguments.command]
    sys.exit(sum(run_study(name, arguments.fault, arguments.kills, arguments.seed, out) for name in chosen) > 0)


if __name__ == "__main__":
    main()
