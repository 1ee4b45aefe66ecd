"""The ``i2net`` command line. Every command calls one function of the package."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import i2net_bundle
from i2net_bundle.cli import data, evaluate, first_steps, package, predict, report, study, view
from i2net_bundle.cli.examples import add_examples
from i2net_bundle.io.printable import PrintableFormatter, printable_lines
from i2net_bundle.workflow.errors import message_of, root_cause

_OF_THE_INPUT = (OSError, ValueError, ImportError, MemoryError)


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command. If the input is at fault, print one message and exit with status 1.

    Args:
        argv: arguments without the name of the program; default is ``sys.argv``.
    """
    arguments = _parser().parse_args(argv)
    console = logging.StreamHandler()
    console.setFormatter(PrintableFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(handlers=[console], level=logging.INFO)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it lists its fonts
    try:
        status = arguments.run(arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        cause = root_cause(error)
        if isinstance(cause, _OF_THE_INPUT):
            sys.exit(printable_lines(f"i2net: {message_of(cause)}"))
        if cause is error:
            raise
        wrapper = str(error).partition("\n")[0]  # names the component of the configuration, which the cause does not
        sys.exit(printable_lines(f"i2net: {wrapper}: {cause}"))
    if status:
        sys.exit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="i2net", description=i2net_bundle.__doc__)
    parser.add_argument("--version", action="version", version=i2net_bundle.__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (data, predict, view, evaluate, report, study, first_steps, package):
        module.add_commands(commands)
    add_examples(commands.choices)
    return parser
