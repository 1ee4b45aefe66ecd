"""Train one network on the data of several sites, which keep their data: federated averaging with NVFlare's simulator.

python -m scripts.federated runs/sites

Without --site and --test it makes phantoms of two sites and of a common test set. Each site trains through MONAI's
MonaiAlgo with the bundle's configuration; the server averages the weights. The same network is trained on each site
alone, for as many epochs and from the same weights, and all are scored on the test set. See docs/sites.md.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from i2net_bundle.data.phantoms import make_ct_phantoms
from i2net_bundle.demo import CT, mean_dice, untrained_network
from i2net_bundle.federation.common_settings import check_sites
from i2net_bundle.federation.global_weights import collect_weights
from i2net_bundle.federation.simulation import simulate
from i2net_bundle.io.writing import write_rows
from i2net_bundle.networks.tensor_files import save_tensors
from i2net_bundle.tasks import TASKS, Task
from i2net_bundle.workflow.bundle_command import bundle_command
from i2net_bundle.workflow.config_files import config_files
from i2net_bundle.workflow.errors import message_of
from i2net_bundle.workflow.run_folders import WEIGHTS_NAME

SCORES_NAME = "scores.csv"
"""Table of the scores, one row per network."""
PHANTOM_SITES = {"site-1": (3, 1), "site-2": (3, 2)}
"""Training cases and seed of each site of the example."""
TEST_CASES, TEST_SEED = 4, 3
GRID = {"shape": (64, 64, 16), "spacing_mm": (6.0, 6.0, 15.0)}
"""Voxels of the phantoms, which fill the same field of view on any grid."""


def make_phantoms(folder: Path) -> tuple[dict[str, Path], Path]:
    """Make CT phantoms: training sets of two sites, of different patients and sizes, and a common test set.

    Returns:
        the data folder of each site by its name, and that of the test set.
    """
    sites = {name: folder / name for name in PHANTOM_SITES}
    for name, (cases, seed) in PHANTOM_SITES.items():
        make_ct_phantoms(sites[name], cases, 0, 0, seed=seed, **GRID)
    make_ct_phantoms(folder / "test", 0, 0, TEST_CASES, seed=TEST_SEED, **GRID)
    return sites, folder / "test"


def train_alone(
    sites: Mapping[str, Path], files: Sequence[str], task: Task, initial: Path, out: Path, epochs: int
) -> dict[str, Path]:
    """Train on each site alone, from the same weights as the federation.

    Returns:
        path of the weights by the site's name.
    """
    start = {"init_weights": initial, "encoder_weights": "none", "epochs": epochs}
    for name, data in sites.items():
        _run(bundle_command("training", files, task, start | {"dataset_dir": data, "output_dir": out / name}))
    return {name: out / name / WEIGHTS_NAME for name in sites}


def score(weights: Path, files: Sequence[str], task: Task, test: Path) -> float:
    """Mean Dice of weights on the test set, by the bundle's evaluation, which is written beside the weights."""
    results = weights.parent / "evaluation"
    _run(bundle_command("evaluating", files, task, {"dataset_dir": test, "weights": weights, "results_dir": results}))
    return mean_dice(results)


def _run(command: Sequence[str]) -> None:
    print(f"\n$ {shlex.join(command)}\n", flush=True)
    subprocess.run(command, check=True)


def run(arguments: argparse.Namespace) -> None:
    """Run the federation and each site alone, score all, and print the table."""
    out, task = Path(arguments.out), TASKS[arguments.task]
    if out.exists():
        raise FileExistsError(f"{out} already exists. Choose another output folder.")
    sites = {name: Path(folder) for name, folder in arguments.site}
    overlays, train_overlays = _paths(arguments.overlay), _paths(arguments.train_overlay)
    test = arguments.test
    if not sites and not test:
        sites, test = make_phantoms(out / "data")
        overlays = [*CT.overlays, "demo_sites.yaml", *overlays]
        train_overlays = [*CT.train_overlays, *train_overlays]
    elif not test:
        raise ValueError("Own sites need a common test set. Pass its folder with --test.")
    check_sites(sites, Path(test), task)
    train = config_files("train.json", *task.overlays, *overlays, *task.train_overlays, *train_overlays)
    evaluate = config_files("evaluate.json", *task.overlays, *overlays)

    initial = out / "initial" / WEIGHTS_NAME
    save_tensors(untrained_network(train, next(iter(sites.values()))).state_dict(), initial)
    last = simulate(sites, train, initial, out / "sites", arguments.rounds, arguments.epochs)
    runs = [out / "sites" / name for name in sites]
    rounds = collect_weights(last, initial, runs, out / "global", arguments.rounds)
    alone = train_alone(sites, train, task, initial, out / "alone", arguments.rounds * arguments.epochs)
    rows = [
        {"network": f"global, round {number}", "epochs": number * arguments.epochs, "path": path}
        for number, path in enumerate(rounds, 1)
    ]
    rows += [
        {"network": f"{name} alone", "epochs": arguments.rounds * arguments.epochs, "path": path}
        for name, path in alone.items()
    ]
    for row in rows:
        row["mean_dice"] = f"{score(row.pop('path'), evaluate, task, Path(test)):.4f}"
    write_rows(out / SCORES_NAME, rows)
    print(f"\n{'network':<24}{'epochs':>8}{'mean Dice':>12}")
    for row in rows:
        print(f"{row['network']:<24}{row['epochs']:>8}{row['mean_dice']:>12}")
    print(f"\nScores:  {out / SCORES_NAME}\nWeights: {rounds[-1]}")


def _paths(files: Sequence[str]) -> list[str]:
    for file in files:
        if not Path(file).is_file():
            raise FileNotFoundError(f"There is no configuration {file}. Check the path.")
    return [str(Path(file).resolve()) for file in files]


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


def _site(text: str) -> tuple[str, str]:
    name, _, folder = text.partition("=")
    if not (name and folder and name.replace("-", "").replace("_", "").isalnum()):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=DIR with letters, digits, - and _ in NAME")
    return name, folder


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", help="output folder, must not exist")
    parser.add_argument(
        "--site", action="append", type=_site, default=[], metavar="NAME=DIR", help="data set of a site"
    )
    parser.add_argument("--test", metavar="DIR", help="data set whose list 'test' all networks are scored on")
    parser.add_argument("--task", choices=list(TASKS), default="ct", help="default ct")
    parser.add_argument("--overlay", action="append", default=[], help="configuration of training and evaluation")
    parser.add_argument("--train-overlay", action="append", default=[], help="configuration of training alone")
    parser.add_argument("--rounds", type=_count, default=12, help="default 12")
    parser.add_argument("--epochs", type=_count, default=1, help="epochs of each site per round (default 1)")
    return parser.parse_args(words)


def main() -> int:
    """Run the command line; returns the exit status."""
    try:
        run(parse())
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"\nError: {message_of(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
