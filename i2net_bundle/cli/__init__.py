"""The ``i2net`` command line. Every command calls one function of the package."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import i2net_bundle
from i2net_bundle.cli import data, evaluate, first_steps, package, predict, report
from i2net_bundle.workflow.errors import root_cause

_OF_THE_INPUT = (OSError, ValueError, ImportError, MemoryError)

_EXAMPLES = """\
examples:
  i2net demo                                                    the whole path on synthetic images
  i2net check DATA                                              faults of a data set
  i2net predict ct.nii.gz -o masks --weights runs/ct/model.pt   a mask for an image
  i2net COMMAND --help                                          options and examples of a command"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command.

    Exit status: 1 for an error of the input, with a one-line message; 2 for wrong arguments; 143 and 130 after SIGTERM
    and Ctrl-C.

    Args:
        argv: arguments without the program's name; default ``sys.argv``.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it reports its fonts
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
            sys.exit(f"i2net: {cause}")
        if cause is error:
            raise
        wrapper = str(error).partition("\n")[0]  # names the component of the configuration, unlike the cause
        sys.exit(f"i2net: {wrapper}: {cause}")
    if status:
        sys.exit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="i2net",
        description=i2net_bundle.__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=i2net_bundle.__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (data, predict, evaluate, report, first_steps, package):
        module.add_commands(commands)
    return parser
