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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks import decoder as decoders
from benchmarks.cases import OURS, PLAIN, TASKS, images, network, training_step
from i2net_bundle.io.writing import written_whole
from i2net_bundle.networks.placement import for_inference
from i2net_bundle.prediction.inferers import SlicewiseInferer, in_bfloat16

ROOT = Path(__file__).resolve().parents[1]
_MONAI = "FlexibleUNet (ResNet-18)"
SLICES = 128
"""Slices of the volume that a GPU is timed on; a dry run takes fewer."""


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
    """Time matrix products, the decoder, training steps and predictions of images and a volume; returns Markdown.

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
    for title, functions in _work(device, side):
        found = time_alternating(functions, device, rounds)
        lines += [
            f"| {title}: {name} | {1e3 * seconds:.1f} | {seconds / found[PLAIN]:.2f} |"
            for name, seconds in found.items()
        ]
    return lines


def _work(device: str, side: int | None) -> Iterator[tuple[str, dict[str, Callable[[], Any]]]]:
    """What is timed: the work and the forms of it that are compared."""
    size = side or TASKS["GlaS"][2]
    yield f"GlaS decoder, features of 2×{size}²", _decoders(size, device)
    for task, (_, _, own_side) in TASKS.items():
        size = side or own_side
        yield f"{task} training step, 1×{size}²", _steps(task, size, device)
        yield f"{task} prediction, 1×{size}²", _predictions(task, size, device)
    size, slices = (side, 4) if side else (TASKS["Synapse"][2], SLICES if device == "cuda" else 16)
    yield f"CT volume of {slices} slices at {size}²", _volumes(size, slices, device)


def _decoders(side: int, device: str) -> dict[str, Callable[[], Any]]:
    levels = [level.to(device) for level in decoders.features(2, side)]
    nets = {name: decoders.make(name).to(device) for name in (OURS, PLAIN)}
    calls: dict[str, Callable[..., Any]] = {**nets, f"{OURS}, bfloat16": _autocast(nets[OURS], device)}
    return {name: torch.inference_mode()(lambda call=call: call(levels)) for name, call in calls.items()}


def _autocast(network: torch.nn.Module, device: str) -> Callable[..., Any]:
    def in_autocast(levels: list[torch.Tensor]) -> Any:
        with torch.autocast(device, torch.bfloat16):
            return network(levels)

    return in_autocast


def _volumes(side: int, slices: int, device: str) -> dict[str, Callable[[], Any]]:
    volume = images("Synapse", slices, 2 * side).permute(1, 2, 3, 0)[None].to(device)  # (1, 1, H, W, D)
    calls = {
        name: lambda net=net, amp=amp: SlicewiseInferer((side, side), amp=amp)(volume, net)
        for name, net, amp in _compared("Synapse", device)
    }
    return {name: torch.inference_mode()(call) for name, call in calls.items()}


def _compared(task: str, device: str) -> list[tuple[str, torch.nn.Module, bool]]:
    """Networks in evaluation on the device, by name, and whether they run in bfloat16."""
    nets = {
        name: for_inference(network(name, task).eval(), device, fast=name != PLAIN) for name in (OURS, PLAIN, _MONAI)
    }
    return [(name, net, False) for name, net in nets.items()] + [(f"{OURS}, bfloat16", nets[OURS], True)]


def _steps(task: str, side: int, device: str) -> dict[str, Callable[[], Any]]:
    steps = {name: training_step(name, task, 1, side, device=device) for name in (OURS, PLAIN, _MONAI)}
    return {**steps, f"{OURS}, bfloat16": training_step(OURS, task, 1, side, bfloat16=True, device=device)}


def _predictions(task: str, side: int, device: str) -> dict[str, Callable[[], Any]]:
    image = images(task, 1, side).to(device)
    calls = {name: in_bfloat16(net) if amp else net for name, net, amp in _compared(task, device)}
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
