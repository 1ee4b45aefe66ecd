"""What the networks of a study cost: parameters, operations, and the times of a training step and of a prediction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from i2net_bundle.io.json_files import read_json_or_empty, write_json
from i2net_bundle.networks import for_inference
from i2net_bundle.networks.counting import paper_macs, parameter_count
from i2net_bundle.reports.run_results import TRAINING_NAME, read_training

TIMES_NAME = "prediction_times.json"
_ROUNDS = 3


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        parameters: number of trained parameters.
        macs: multiply-accumulates of one image by the paper's rules, see `i2net_bundle.networks.counting`.
        shape: shape of that image (1, C, H, W).
    """

    parameters: int
    macs: int
    shape: tuple[int, int, int, int]


def count_cost(network: nn.Module, channels: int, side: int) -> Cost:
    """Count a network on one image. The network loses its weights.

    Args:
        network: the network.
        channels: channels of the image.
        side: height and width of the image.
    """
    shape = (1, channels, side, side)
    return Cost(parameter_count(network), paper_macs(network, shape), shape)


def prediction_times(
    builders: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]], folder: Path, threads: int
) -> dict[str, float]:
    """Measure the time of one prediction per network, in seconds: the median of rounds that alternate between networks.

    Times that were measured before, with as many threads, are read from ``prediction_times.json``.

    Args:
        builders: for every network by name, a function that builds it, and the shape of its input.
        folder: folder of the file.
        threads: threads of PyTorch.
    """
    path = folder / TIMES_NAME
    device = "cuda" if torch.cuda.is_available() else "cpu"
    place = {"threads": threads, "device": torch.cuda.get_device_name() if device == "cuda" else "cpu"}
    saved = read_json_or_empty(path)
    known: dict[str, float] = saved.get("seconds", {}) if saved.get("place") == place else {}
    if known.keys() >= builders.keys():
        return {name: known[name] for name in builders}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        known = _measure(builders, device)
    finally:
        torch.set_num_threads(before)
    write_json(path, {"place": place, "seconds": known})
    return known


def step_seconds(folders: Iterable[Path]) -> float | None:
    """Median time of a training step over the epochs of runs, in seconds; None if no run records its steps.

    Args:
        folders: folders of the runs.
    """
    times: list[float] = []
    for folder in folders:
        table = read_training(folder / TRAINING_NAME) if (folder / TRAINING_NAME).is_file() else {}
        if "steps" in table:
            times += list(table["seconds"][table["steps"] > 0] / table["steps"][table["steps"] > 0])
    return float(np.median(times)) if times else None


def _measure(builders: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]], device: str) -> dict[str, float]:
    networks = {name: for_inference(build(), device).eval() for name, (build, _) in builders.items()}
    images = {name: torch.rand(shape, device=device) for name, (_, shape) in builders.items()}
    times: dict[str, list[float]] = {name: [] for name in builders}
    rounds = [name for _ in range(_ROUNDS + 1) for name in builders]
    with torch.inference_mode():
        for name in tqdm(rounds, desc="timing predictions", disable=None):
            started = time.perf_counter()
            networks[name](images[name])
            if device == "cuda":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - started)
    return {name: float(np.median(values[1:])) for name, values in times.items()}  # the first round warms up
