"""Every command's help ends with examples, and these are valid command lines."""

from __future__ import annotations

import argparse
import shlex

import pytest

from i2net_bundle.cli import _parser
from i2net_bundle.cli.examples import EXAMPLES


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (item for item in _parser()._actions if isinstance(item, argparse._SubParsersAction))
    return dict(action.choices)


def test_every_command_has_examples() -> None:
    assert commands().keys() == EXAMPLES.keys()
    assert all(EXAMPLES.values())


@pytest.mark.parametrize("command", EXAMPLES)
def test_the_help_of_a_command_shows_its_examples_line_by_line(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args([command, "--help"])
    printed = capsys.readouterr().out.splitlines()
    assert [f"  {line}" for line in EXAMPLES[command]] == [
        line for line in printed if line.strip() in EXAMPLES[command]
    ]


@pytest.mark.parametrize("example", [line for lines in EXAMPLES.values() for line in lines])
def test_an_example_is_a_valid_command_line(example: str) -> None:
    if example.startswith("i2net "):
        _parser().parse_args(shlex.split(example)[1:])
