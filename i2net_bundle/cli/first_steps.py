"""Commands for first steps: the bundle's folder, phantoms, the demonstration."""

from __future__ import annotations

import argparse
from typing import Any


def add_commands(commands: Any) -> None:
    """Add ``root``, ``phantoms`` and ``demo`` to the subparsers of the command line."""
    root = commands.add_parser("root", help="print the bundle's folder, for --bundle_root")
    root.set_defaults(run=_print_root)

    phantoms = commands.add_parser("phantoms", help="make a small synthetic data set")
    phantoms.add_argument("kind", choices=["ct", "glands"], help="abdominal CT (NIfTI) or histology (PNG)")
    phantoms.add_argument("out", metavar="DIR", help="output folder; must not hold a data set")
    phantoms.add_argument("--seed", type=int, default=0, help="random seed (default 0)")
    phantoms.set_defaults(run=_make_phantoms)

    demo = commands.add_parser("demo", help="train, evaluate and predict on synthetic images, in a few minutes")
    demo.add_argument("--out", metavar="DIR", default="runs/demo", help="output folder (default runs/demo)")
    demo.set_defaults(run=_run_demo)


def _print_root(arguments: argparse.Namespace) -> None:
    from i2net_bundle.workflow.config_files import bundle_root

    print(bundle_root())


def _make_phantoms(arguments: argparse.Namespace) -> None:
    from i2net_bundle.data.phantoms import make_ct_phantoms, make_gland_phantoms

    make = make_ct_phantoms if arguments.kind == "ct" else make_gland_phantoms
    print(make(arguments.out, seed=arguments.seed))


def _run_demo(arguments: argparse.Namespace) -> None:
    from i2net_bundle.demo import run_demo

    run_demo(arguments.out)
