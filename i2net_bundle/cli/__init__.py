"""The ``i2net`` command line: thin, every command calls one function of the package."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

import i2net_bundle
from i2net_bundle.cli import data, evaluate, first_steps, package, predict, report, study
from i2net_bundle.workflow.errors import root_cause

_OF_THE_INPUT = (OSError, ValueError, ImportError)


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; exits with status 1 and what is wrong where the input is at fault.

    Args:
        argv: arguments without the program's name; default ``sys.argv``.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # tells of its fonts
    try:
        status = arguments.run(arguments)
    except Exception as error:
        cause = root_cause(error)
        if isinstance(cause, _OF_THE_INPUT):
            sys.exit(f"i2net: {cause}")
        if cause is error:
            raise
        wrapper = str(error).partition("\n")[0]  # a configuration's component, which the cause does not name
        sys.exit(f"i2net: {wrapper}: {cause}")
    if status:
        sys.exit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="i2net", description=i2net_bundle.__doc__)
    parser.add_argument("--version", action="version", version=i2net_bundle.__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (data, predict, evaluate, report, study, first_steps, package):
        module.add_commands(commands)
    return parser
