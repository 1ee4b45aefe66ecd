"""Commands to get started: the bundle's folder, phantoms, the demonstration."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from i2net_bundle.cli.answers import Answer


def add_commands(commands: Any) -> None:
    """Add ``root``, ``phantoms`` and ``demo`` to the command line's subparsers."""
    root = commands.add_parser("root", help="print the bundle's folder, for --bundle_root and configuration paths")
    root.set_defaults(run=_print_root)

    phantoms = commands.add_parser("phantoms", help="write a small data set of computed images, to try things out")
    phantoms.add_argument(
        "kind",
        choices=["ct", "glands", "touching-glands", "streets"],
        help="abdominal CT (NIfTI), histology (PNG), or street scenes for i2net prepare cityscapes",
    )
    phantoms.add_argument("out", metavar="DIR", help="folder to write; must not contain a data set")
    phantoms.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default 0)")
    phantoms.set_defaults(run=_make_phantoms)

    demo = commands.add_parser("demo", help="train, evaluate and predict on phantoms of CT and glands, in minutes")
    demo.add_argument("--out", metavar="DIR", default="runs/demo", help="folder to write (default runs/demo)")
    demo.set_defaults(run=_run_demo)


def _print_root(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.workflow.config_files import bundle_root

    root = bundle_root()
    return Answer(str(root), {"root": root})


def _make_phantoms(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.data import phantoms

    makers: dict[str, Callable[..., Path]] = {
        "ct": phantoms.make_ct_phantoms,
        "glands": phantoms.make_gland_phantoms,
        "touching-glands": partial(phantoms.make_gland_phantoms, touching=True),
        "streets": phantoms.make_street_phantoms,
    }
    written = makers[arguments.kind](arguments.out, seed=arguments.seed)
    return Answer(str(written), {"written": written})


def _run_demo(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.demo import run_demo

    run_demo(arguments.out)
    return Answer(arguments.out, {"out": arguments.out})
