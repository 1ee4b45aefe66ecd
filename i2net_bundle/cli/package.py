"""The command that writes a self-contained bundle for one task."""

from __future__ import annotations

import argparse
from typing import Any

from i2net_bundle.tasks import TASKS

_PACKAGE = """\
Write a self-contained MONAI bundle: plain configurations, metadata, license, model card, code and weights.

Classes, channels, sizes and network come from the record of the weights. The folder can be used as it is by MONAI
Label's monaibundle app, model zoos, hubs and federated clients."""

_EXAMPLES = """\
examples:
  i2net package ct --weights runs/synapse/model.pt --out bundles/abdomen
  i2net package histology --untrained --encoder-weights imagenet --out bundles/glands"""


def add_commands(commands: Any) -> None:
    """Add ``package`` to the subparsers of the command line."""
    package = commands.add_parser(
        "package",
        help="write a self-contained bundle for one task",
        description=_PACKAGE,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    package.add_argument("task", choices=list(TASKS), help="task of the weights")
    package.add_argument("--out", metavar="DIR", required=True, help="output folder; must be absent or empty")
    source = package.add_mutually_exclusive_group(required=True)
    source.add_argument("--weights", metavar="PATH", help="model.pt of a training run")
    source.add_argument("--untrained", action="store_true", help="use random weights; the metadata say so")
    package.add_argument(
        "--encoder-weights", metavar="PATH", help="with --untrained: weights of the encoder, 'imagenet' or a state dict"
    )
    package.add_argument("--seed", type=int, default=0, help="seed of random weights (default 0)")
    package.add_argument(
        "--origin", metavar="TEXT", help="description of the weights in the metadata (default: the file's name)"
    )
    package.add_argument(
        "--labels", metavar="TABLE", help="label table with colors, codes and volumes: built-in, or a JSON file"
    )
    package.add_argument(
        "--overlay",
        metavar="FILE",
        action="append",
        default=[],
        help="configuration that was used for training, for networks outside MONAI and this bundle",
    )
    package.add_argument(
        "--train-overlay", metavar="FILE", action="append", default=[], help="configuration for training only"
    )
    package.set_defaults(run=_package)


def _package(arguments: argparse.Namespace) -> None:
    from i2net_bundle.packaging import Weights, package_bundle

    if arguments.weights and arguments.encoder_weights:
        raise ValueError("--encoder-weights requires --untrained: the file of --weights contains an encoder.")
    weights = Weights(arguments.weights, arguments.encoder_weights, arguments.seed, arguments.origin)
    overlays, train_overlays = arguments.overlay, arguments.train_overlay
    print(package_bundle(arguments.task, arguments.out, weights, overlays, train_overlays, arguments.labels))
