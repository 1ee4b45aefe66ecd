"""The ``i2net`` command line. Every command calls one function of the package."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout

import i2net_bundle
from i2net_bundle.cli import data, evaluate, first_steps, package, pacs, predict, report, study, view
from i2net_bundle.cli.answers import Answer
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
        with _others_to_stderr() if arguments.json else nullcontext():
            answer: Answer = arguments.run(arguments)
        answer.show(arguments.json)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        cause = root_cause(error)
        message = message_of(cause)
        if not isinstance(cause, _OF_THE_INPUT):
            if cause is error:
                raise
            # the first line names the component of the configuration, which the cause does not
            message = f"{str(error).partition(chr(10))[0]}: {cause}"
        if arguments.json:
            Answer("", {"error": printable_lines(message)}).show(as_json=True)
        sys.exit(printable_lines(f"i2net: {message}"))
    if answer.status:
        sys.exit(answer.status)


@contextmanager
def _others_to_stderr() -> Iterator[None]:
    """Send what is printed meanwhile, by child processes too, to standard error, so that JSON stands alone."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(own, 1)
        os.close(own)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="i2net", description=i2net_bundle.__doc__)
    parser.add_argument("--version", action="version", version=i2net_bundle.__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (data, pacs, predict, view, evaluate, report, study, first_steps, package):
        module.add_commands(commands)
    for command in _commands(parser):
        command.add_argument("--json", action="store_true", help="print the answer as JSON, and nothing else on stdout")
    add_examples(commands.choices)
    return parser


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of all commands that run, without those that only have subcommands."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield parser
    for action in inner:
        for command in action.choices.values():
            yield from _commands(command)
