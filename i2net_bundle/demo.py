"""Demonstrate the whole path on synthetic images: data, training, evaluation, prediction, report, and two baselines."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.metrics import DiceMetric

from i2net_bundle.data import load_cases
from i2net_bundle.data.phantoms import make_ct_phantoms, make_gland_phantoms
from i2net_bundle.evaluation.classwise import classwise
from i2net_bundle.io.options import HistologyOptions
from i2net_bundle.networks.tensor_files import save_tensors
from i2net_bundle.prediction.cohort_record import PAGE
from i2net_bundle.tasks import TASKS, Task
from i2net_bundle.transforms import histology_reading, volume_reading
from i2net_bundle.workflow.bundle_command import bundle_command
from i2net_bundle.workflow.config_files import config_files


@dataclass(frozen=True)
class Demonstration:
    """One task of the demonstration.

    Attributes:
        task: name of the task, see `i2net_bundle.tasks`, and of its folder.
        title: title in the table of scores.
        overlays: further configurations for all workflows.
        train_overlays: further configurations for training.
        test_images: folder in the data set with the images to predict.
    """

    task: str
    title: str
    overlays: tuple[str, ...]
    train_overlays: tuple[str, ...]
    test_images: str


CT = Demonstration("ct", "CT, eight organs", ("demo_ct.yaml",), ("demo_ct_train.yaml",), "imagesTs")
GLANDS = Demonstration("histology", "histology, glands", (), ("demo_histology_train.yaml",), "images")


def run_demo(out: str | Path) -> None:
    """Make phantoms, train, evaluate and predict on them for both tasks, and print the scores and the output files.

    Args:
        out: output folder; if it exists, ``out-2``, ``out-3``, … is used.
    """
    started = time.perf_counter()
    folder = _free_folder(Path(out))
    make_ct_phantoms(folder / CT.task / "data", num_training=6, num_test=2, shape=(64, 64, 32), spacing_mm=(6, 6, 8))
    make_gland_phantoms(folder / GLANDS.task / "data", num_training=24, num_test=4)
    scores = {part.title: _run_task(part, folder / part.task) for part in (CT, GLANDS)}
    print(f"\nMean Dice on the test cases of the phantoms ({time.perf_counter() - started:.0f} s in total):\n")
    print(_score_table(scores))
    print(f"\nReports:   {folder}/*/run/report/index.html\nScores:    {folder}/*/run/evaluation/metrics.csv")
    print(f"Masks:     {folder}/*/masks\nTraining:  {folder}/*/run/training.csv")
    print("\nOpen these pages in a browser to look at the masks:")
    print("\n".join(f"  {folder / part.task / 'masks' / PAGE}" for part in (CT, GLANDS)))


def _run_task(part: Demonstration, folder: Path) -> dict[str, float]:
    data, run, task = folder / "data", folder / "run", TASKS[part.task]
    shared = [*task.overlays, *part.overlays]
    train = ["train.json", *shared, *task.train_overlays, *part.train_overlays]
    evaluate = ["evaluate.json", *shared]
    _bundle("training", train, task, dataset_dir=data, output_dir=run)
    _bundle("evaluating", evaluate, task, dataset_dir=data, output_dir=run)
    untrained = folder / "untrained.pt"
    save_tensors(untrained_network(evaluate, data).state_dict(), untrained)
    results = folder / "untrained"
    _bundle("evaluating", evaluate, task, dataset_dir=data, weights=untrained, results_dir=results)
    images, masks = data / part.test_images, folder / "masks"
    _i2net("predict", images, "-o", masks, "--weights", run / "model.pt", "--page")
    _i2net("report", run)
    return {
        "I²Net": mean_dice(run / "evaluation"),
        "untrained": mean_dice(results),
        "best class-blind guess": class_blind_dice(data, histology=not task.volumes),
    }


def class_blind_dice(dataset_dir: Path, histology: bool) -> float:
    """Mean Dice on the test cases of the best guess without any knowledge of the classes.

    With several organs, all organ voxels get the one class that scores best. With one class, the whole image does.

    Args:
        dataset_dir: folder of ``dataset.json``.
        histology: whether the images are histology; otherwise volumes.
    """
    keys = ("image", "label")
    glands = HistologyOptions(label_values="instances")
    reading = histology_reading(keys, glands) if histology else volume_reading(keys)
    labels = [torch.as_tensor(reading(case)["label"]) for case in load_cases(dataset_dir, "test")]
    num_classes = 1 + max(int(label.max()) for label in labels)
    found = [torch.ones_like(label) if histology else label > 0 for label in labels]
    dice = [
        np.mean([classwise(DiceMetric(), f * c, y, num_classes).mean() for f, y in zip(found, labels, strict=True)])
        for c in range(1, num_classes)
    ]
    return float(max(dice))


def untrained_network(files: Sequence[str], dataset_dir: Path) -> torch.nn.Module:
    """The network of a configuration with random weights, always the same ones.

    Args:
        files: configuration files: names in ``configs/``, or absolute paths.
        dataset_dir: folder of a data list with the classes and channels.
    """
    parser = ConfigParser()
    parser.read_config(config_files(*files))
    parser["dataset_dir"] = str(dataset_dir)
    torch.manual_seed(0)
    return parser.get_parsed_content("network_def")


def _bundle(run_id: str, files: Sequence[str], task: Task, **overrides: Path) -> None:
    _run(bundle_command(run_id, files, task, overrides))


def _i2net(*arguments: str | Path) -> None:
    _run([sys.executable, "-m", "i2net_bundle", *map(str, arguments)])


def _run(command: Sequence[str]) -> None:
    print(f"\n$ {shlex.join(command)}\n", flush=True)
    subprocess.run(command, check=True)


def mean_dice(results: Path) -> float:
    """Mean Dice over classes and cases by the strict protocol, from the folder of an evaluation."""
    return json.loads((results / "summary.json").read_text(encoding="utf-8"))["mean"]["strict_dice"]["mean"]


def _free_folder(out: Path) -> Path:
    candidate, number = out, 2
    while candidate.exists():
        candidate, number = out.with_name(f"{out.name}-{number}"), number + 1
    return candidate


def _score_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    columns = list(next(iter(scores.values())))
    lines = [f"{'':<20}" + "".join(f"{column:>24}" for column in columns)]
    for title, row in scores.items():
        lines.append(f"{title:<20}" + "".join(f"{row[column]:>24.3f}" for column in columns))
    return "\n".join(lines)
