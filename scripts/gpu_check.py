"""Run the tests of GPUs and a short benchmark on one device, and write a page.

python -m scripts.gpu_check --out gpu-check.md [--device cpu], in the checkout

Without a GPU it is a dry run on the CPU, which shows that the check itself works; the page says so. A GPU takes a few
minutes at most. The exit status is 1 if a test fails.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.cases import OURS, PLAIN, TASKS, images, network, training_step
from i2net_bundle.io.writing import written_whole
from i2net_bundle.networks.placement import for_inference
from i2net_bundle.prediction.inferers import in_bfloat16

ROOT = Path(__file__).resolve().parents[1]
_MONAI = "FlexibleUNet (ResNet-18)"


def run_tests(device: str) -> list[tuple[str, str, str]]:
    """Run the tests marked ``gpu``; returns the name, outcome and reason of each.

    Args:
        device: ``cuda`` or ``cpu``.

    Raises:
        RuntimeError: the tests could not be run.
    """
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "tests/gpu", "-m", "gpu", "-p", "no:xdist", f"--junitxml={table}"]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"I2NET_GPU_CHECK": device})
        if done.returncode not in (0, 1) or not table.is_file():
            raise RuntimeError(f"pytest ended with status {done.returncode}: see its messages above.")
        return [_outcome(case) for case in ElementTree.parse(table).iter("testcase")]


def _outcome(case: ElementTree.Element) -> tuple[str, str, str]:
    name = case.attrib["name"].replace("_", " ")
    for kind, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = case.find(kind)
        if found is not None:
            lines = found.attrib.get("message", "").splitlines()
            return name, outcome, lines[0][:200] if lines else ""
    return name, "passed", ""


def time_alternating(functions: dict[str, Callable[[], Any]], device: str, rounds: int) -> dict[str, float]:
    """Median seconds of each function over alternating rounds after a warm-up round.

    Args:
        functions: work to time, by name.
        device: device whose work is waited for.
        rounds: timed runs of each function.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in tqdm(range(rounds + 1), desc="timing", leave=False, disable=None):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def benchmark(device: str, side: int | None = None, rounds: int = 5) -> list[str]:
    """Time matrix products, training steps and predictions; returns Markdown.

    Args:
        device: ``cuda`` or ``cpu``.
        side: of the images in pixels; by default each task's own.
        rounds: timed runs of each function.
    """
    n = 4096 if device == "cuda" else 1024
    lines = []
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        left, right = torch.randn(2, n, n, device=device, dtype=dtype)
        seconds = time_alternating({"product": lambda a=left, b=right: a @ b}, device, rounds)["product"]
        lines.append(f"- matrix product of {n}², {name}: {2e-12 * n**3 / seconds:.2f} TFLOP/s")
    lines += [
        "",
        "| work | ms | relative to the plain form |",
        "| --- | ---: | ---: |",
    ]
    for task, (_, _, own_side) in TASKS.items():
        size = side or own_side
        for title, functions in (
            (f"{task} training step, 1×{size}²", _steps(task, size, device)),
            (f"{task} prediction, 1×{size}²", _predictions(task, size, device)),
        ):
            found = time_alternating(functions, device, rounds)
            lines += [
                f"| {title}: {name} | {1e3 * seconds:.1f} | {seconds / found[PLAIN]:.2f} |"
                for name, seconds in found.items()
            ]
    return lines


def _steps(task: str, side: int, device: str) -> dict[str, Callable[[], Any]]:
    steps = {name: training_step(name, task, 1, side, device=device) for name in (OURS, PLAIN, _MONAI)}
    return {**steps, f"{OURS}, bfloat16": training_step(OURS, task, 1, side, bfloat16=True, device=device)}


def _predictions(task: str, side: int, device: str) -> dict[str, Callable[[], Any]]:
    image = images(task, 1, side).to(device)
    nets = {
        name: for_inference(network(name, task).eval(), device, fast=name != PLAIN) for name in (OURS, PLAIN, _MONAI)
    }
    calls: dict[str, Callable[..., Any]] = {**nets, f"{OURS}, bfloat16": in_bfloat16(nets[OURS])}
    return {name: torch.inference_mode()(lambda call=call: call(image)) for name, call in calls.items()}


def page(device: str, tests: list[tuple[str, str, str]], figures: list[str], seconds: float) -> str:
    """The Markdown page."""
    what = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    count = {outcome: sum(row[1] == outcome for row in tests) for outcome in ("passed", "failed", "skipped")}
    dry = [] if device == "cuda" else ["**A dry run on the CPU: no GPU has been checked.**", ""]
    return "\n".join(
        [
            f"# Check of a device: {what}",
            "",
            *dry,
            f"PyTorch {torch.__version__}, CUDA {torch.version.cuda or 'none'}; {seconds:.0f} s in all.",
            "",
            f"## Tests: {count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped",
            "",
            "| test | outcome | |",
            "| --- | --- | --- |",
            *(f"| {name} | {outcome} | {reason.replace('|', chr(92) + '|')} |" for name, outcome, reason in tests),
            "",
            "## Times",
            "",
            "Medians of alternating rounds, float32 unless stated otherwise. Steps are without the optimiser; I²Net's "
            "with all its losses, MONAI's network's with the segmentation loss alone.",
            "",
            *figures,
            "",
        ]
    )


def main() -> None:
    """Read the command line, run the check, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the page, Markdown; replaced if it exists")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=["cuda", "cpu"], default=default, help=f"default here: {default}")
    parser.add_argument("--side", type=int, help="side of the benchmark's images in pixels (default: each task's own)")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no CUDA device. Check the driver, or pass --device cpu for a dry run.")
    started = time.perf_counter()
    tests = run_tests(arguments.device)
    figures = benchmark(arguments.device, arguments.side, 5 if arguments.side is None else 1)
    seconds = time.perf_counter() - started
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(arguments.out) as temporary:
        temporary.write_text(page(arguments.device, tests, figures, seconds), encoding="utf-8")
    print(arguments.out)
    sys.exit(any(outcome == "failed" for _, outcome, _ in tests))


if __name__ == "__main__":
    main()
