"""The ``i2net`` command line: thin, every command calls one function."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import i2net_bundle
from i2net_bundle.bundle import bundle_root


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; exits with status 1 and one line where the input is at fault.

    Args:
        argv: arguments without the program's name; default ``sys.argv``.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (OSError, ValueError) as error:
        sys.exit(f"i2net: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="i2net", description=i2net_bundle.__doc__)
    parser.add_argument("--version", action="version", version=i2net_bundle.__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    root = commands.add_parser("root", help="print the bundle's folder, for --bundle_root and configuration paths")
    root.set_defaults(run=lambda arguments: print(bundle_root()))

    phantoms = commands.add_parser("phantoms", help="make a small licence-free data set to try everything on")
    phantoms.add_argument("kind", choices=["ct", "glands"], help="abdominal CT (NIfTI) or histology (PNG)")
    phantoms.add_argument("out", metavar="DIR", help="folder to write; must not hold a data set")
    phantoms.add_argument("--seed", type=int, default=0, help="of everything random (default 0)")
    phantoms.set_defaults(run=_make_phantoms)

    demo = commands.add_parser("demo", help="train, evaluate and predict on phantoms, both tasks, in a few minutes")
    demo.add_argument("--out", metavar="DIR", default="runs/demo", help="folder to write (default runs/demo)")
    demo.set_defaults(run=_run_demo)
    return parser


def _make_phantoms(arguments: argparse.Namespace) -> None:
    from i2net_bundle.data.phantoms import make_ct_phantoms, make_gland_phantoms

    make = make_ct_phantoms if arguments.kind == "ct" else make_gland_phantoms
    print(make(arguments.out, seed=arguments.seed))


def _run_demo(arguments: argparse.Namespace) -> None:
    from i2net_bundle.demo import run_demo

    run_demo(arguments.out)
