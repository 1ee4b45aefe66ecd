"""Answers of the commands: text or JSON, and exit statuses."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from i2net_bundle import cli
from i2net_bundle.cli import _commands, _parser, main
from i2net_bundle.cli.answers import Answer


def test_every_command_has_json() -> None:
    commands = list(_commands(_parser()))
    assert len(commands) >= 14
    assert [command.prog for command in commands if "--json" not in command._option_string_actions] == []


def test_the_answer_is_text_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["root"])
    root = capsys.readouterr().out.strip()
    main(["root", "--json"])
    assert json.loads(capsys.readouterr().out) == {"root": root}


def test_json_stands_alone_on_standard_output(tmp_path: Path) -> None:
    """What the command and its child processes print goes to standard error."""
    code = """
import subprocess, sys
from i2net_bundle import cli
from i2net_bundle.cli.answers import Answer

def run(arguments):
    print("printed")
    subprocess.run([sys.executable, "-c", "print('by a child')"], check=True)
    return Answer("text", {"answer": 1}, 3)

parser = cli._parser()
for command in cli._commands(parser):
    command.set_defaults(run=run)
cli._parser = lambda: parser
cli.main(["root", "--json"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 3
    assert json.loads(done.stdout) == {"answer": 1}
    assert "printed" in done.stderr and "by a child" in done.stderr


def test_an_error_is_told_in_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="contains no parts of a cohort"):
        main(["merge", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out)["error"].startswith(f"{tmp_path} contains no parts of a cohort")


def test_the_status_of_an_answer_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    parser.set_defaults(run=lambda arguments: Answer("", {}, 3), json=False)
    monkeypatch.setattr(cli, "_parser", lambda: parser)
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 3
