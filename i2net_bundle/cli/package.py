"""The command that packages weights as a self-contained bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from i2net_bundle.cli.answers import Answer
from i2net_bundle.tasks import TASKS

_PACKAGE = """\
Write a self-contained MONAI bundle: plain configurations, metadata, licence, model card, code and weights.

Classes, channels, sizes and network are those that the weights were trained with. The folder works in MONAI Label's
monaibundle app, model zoos, hubs and federated clients."""


def add_commands(commands: Any) -> None:
    """Add ``package`` to the command line's subparsers."""
    package = commands.add_parser(
        "package",
        help="write weights as a self-contained MONAI bundle",
        description=_PACKAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    package.add_argument("task", choices=list(TASKS), help="kind of task")
    package.add_argument("--out", metavar="DIR", required=True, help="folder to write; must be missing or empty")
    source = package.add_mutually_exclusive_group()
    source.add_argument(
        "--weights", metavar="PATH", help="the model.pt of a training run (default: those of `i2net predict`)"
    )
    source.add_argument("--untrained", action="store_true", help="package random weights, and say so in the package")
    package.add_argument(
        "--encoder-weights", metavar="PATH", help="with --untrained: 'imagenet' or a state dict for the encoder"
    )
    package.add_argument("--seed", type=int, default=0, help="seed of untrained weights (default 0)")
    package.add_argument(
        "--origin", metavar="TEXT", help="description of the weights in the package (default: the name of the file)"
    )
    package.add_argument(
        "--labels", metavar="TABLE", help="label table, built-in or a JSON file: colours, codes, volumes"
    )
    package.add_argument(
        "--overlay",
        metavar="FILE",
        action="append",
        default=[],
        help="configuration that the weights were trained with; for networks outside MONAI and this bundle",
    )
    package.add_argument(
        "--train-overlay", metavar="FILE", action="append", default=[], help="further configuration for training only"
    )
    package.set_defaults(run=_package)


def _package(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.packaging import Weights, package_bundle
    from i2net_bundle.prediction.training_data import report_training_data
    from i2net_bundle.workflow.run_records import run_record
    from i2net_bundle.workflow.shipped_weights import default_weights

    if arguments.weights and arguments.encoder_weights:
        raise ValueError("--encoder-weights needs --untrained: the file of --weights already contains an encoder.")
    path = None if arguments.untrained else Path(arguments.weights or default_weights(arguments.task))
    if path is not None:
        report_training_data(path, run_record(path))
    weights = Weights(path, arguments.encoder_weights, arguments.seed, arguments.origin)
    overlays, train_overlays = arguments.overlay, arguments.train_overlay
    bundle = package_bundle(arguments.task, arguments.out, weights, overlays, train_overlays, arguments.labels)
    return Answer(str(bundle), {"bundle": bundle})
