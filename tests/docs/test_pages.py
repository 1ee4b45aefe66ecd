"""Everything that the documentation names exists: pages, anchors, files, modules, commands and options."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from monai.bundle import ConfigParser

from i2net_bundle.cli import _parser
from tests.docs.pages import HISTORY, PAGES, ROOT, anchors, blocks, commands, links, page_id, spans, text

CURRENT = [page for page in PAGES if page != HISTORY]
FOLDERS = ("configs", "docs", "scripts", "tests", "i2net_bundle", "benchmarks", ".ci", ".github")
NOT_OURS = {
    *("--config_file", "--meta_file", "--bundle_root", "--ckpt_file", "--filepath", "--use_trace", "--input_shape"),
    *("--converter_kwargs", "--standalone", "--nproc_per_node", "--device", "--extra-index-url", "--index-url"),
    *("--nnodes", "--nproc-per-node", "--max-restarts", "--rdzv-backend", "--rdzv-id", "--rdzv-endpoint"),
    "--kill-on-bad-exit",
    *("--tracking", "--nthreads", "--lifetime", "--signal"),
    *("--file", "--userns", "--user", "--shm-size", "--gpus", "--network"),
}
"""Options of the commands of MONAI, torch, pip, Dask, SLURM and containers."""


def each_page(pages: list[Path] = CURRENT) -> Any:
    """Run a test once per page."""
    return pytest.mark.parametrize("page", pages, ids=page_id)


@each_page(PAGES)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(link)
    assert broken == []


@each_page()
def test_files_of_the_repository_that_a_page_names_exist(page: Path) -> None:
    found = re.findall(rf"(?<![\w./$-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w*./-]*[\w*/]", text(page))
    of_root = {path.name for path in ROOT.glob("*.yaml")}
    found += [f"configs/{name}" for name in spans(page) if re.fullmatch(r"\w+\.yaml", name) and name not in of_root]
    assert [name for name in found if not list(ROOT.glob(name.rstrip("/")))] == []


def resolve(name: str) -> None:
    """Import a dotted name's module and look up the rest."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return
    raise ModuleNotFoundError(name)


@each_page()
def test_modules_and_functions_that_a_page_names_exist(page: Path) -> None:
    names = set(re.findall(r"(?<![\w./-])(?:i2net_bundle|monai)(?:\.[A-Za-z_]\w*)+", "\n".join(spans(page))))
    for block in blocks(page):
        if block.language == "python":
            for node in ast.walk(ast.parse(block.code)):
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("i2net_bundle"):
                    names |= {f"{node.module}.{alias.name}" for alias in node.names}
    missing = []
    for name in names:
        try:
            resolve(name)
        except (ModuleNotFoundError, AttributeError):
            missing.append(name)
    assert missing == []


@each_page()
def test_python_modules_and_make_targets_of_commands_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in commands(page):
        for target in re.findall(r"^make ([\w-]+)", command):
            assert target in targets, command
        for module in re.findall(r"python -m ((?:scripts|benchmarks)[\w.]*)", command):
            if not module.endswith(".NAME"):
                resolve(module)


def placeholders(command: str) -> bool:
    """Whether a command is a pattern, not a command line."""
    return "|" in command or "…" in command or "SRC" in command.split()[-1:]


@each_page()
def test_i2net_parses_every_command_line_of_a_page(page: Path, capsys: pytest.CaptureFixture) -> None:
    refused = []
    for command in commands(page):
        if not re.match(r"i2net [a-z]+ \S", command) or placeholders(command):
            continue
        try:
            _parser().parse_args(shlex.split(command.replace("[", "").replace("]", ""), comments=True)[1:])
        except SystemExit:
            refused.append((command, capsys.readouterr().err.splitlines()[-1]))
    assert refused == []


def config_ids(value: Any, prefix: str = "") -> Iterator[str]:
    """Ids of a configuration and of all in it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{prefix}{key}"
            yield from config_ids(inner, f"{prefix}{key}::")


def configurations() -> dict[str, dict]:
    """All configurations by file name."""
    files = sorted([*(ROOT / "configs").glob("*.json"), *(ROOT / "configs").glob("*.yaml")])
    return {path.name: ConfigParser.load_config_file(str(path)) for path in files}


def bundle_options(command: str) -> tuple[list[str], list[str]]:
    """Configuration files and options of a command line of MONAI's."""
    words = shlex.split(command[command.find("monai.bundle run") :], comments=True)
    files: list[str] = []
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    if "--config_file" in words:
        value = words[words.index("--config_file") + 1]
        files = ast.literal_eval(value) if value.startswith("[") else [value]
    return [Path(file).name for file in files], options


@each_page()
def test_options_of_monais_commands_are_ids_of_their_configurations(page: Path) -> None:
    unknown = []
    own = {block.title for block in blocks(page)}  # files that the page itself shows
    for command in commands(page):
        if "monai.bundle run" not in command or "…" in command or "$(" in command:
            continue
        files, options = bundle_options(command)
        files = [name for name in files if name not in own]
        merged = ConfigParser.load_config_files([str(ROOT / "configs" / name) for name in files]) if files else {}
        known = {*config_ids(merged), *(key.lstrip("+") for key in merged)}
        for option in options:
            name = option.removeprefix("--")
            argument_of_component = "::" in name and name.rpartition("::")[0] in known
            if files and option not in NOT_OURS and name not in known and not argument_of_component:
                unknown.append((command, option))
    assert unknown == []


def parser_options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Options of a parser and of its commands."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parser_options(inner)


def script_options() -> set[str]:
    """Options that scripts and benchmarks declare."""
    files = [*(ROOT / "scripts").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    return {name for path in files for name in re.findall(r'add_argument\(\s*"(--[\w-]+)"', path.read_text())}


@each_page()
def test_the_start_script_of_monai_label_has_the_options_that_a_page_gives_it(page: Path) -> None:
    known = script_options()
    for command in commands(page):
        if "scripts/monai_label.py" in command:
            assert {word for word in shlex.split(command, comments=True) if word.startswith("--")} <= known, command


@each_page()
def test_options_within_the_prose_exist(page: Path) -> None:
    known = {*parser_options(_parser()), *script_options(), *NOT_OURS}
    known |= {f"--{name}" for config in configurations().values() for name in config_ids(config)}
    unknown = []
    for span in spans(page):
        for option in re.findall(r"(?<![\w-])(--[a-z]\w*(?:[-:\w]*\w)?)", span):
            component, _, argument = option.rpartition("::")
            if option not in known and not (argument and component in known):
                unknown.append(option)
    assert unknown == []


@each_page(PAGES)
def test_fenced_code_parses(page: Path) -> None:
    parse = {"python": ast.parse, "json": json.loads, "yaml": yaml.safe_load}
    for block in blocks(page):
        if block.language in parse:
            parse[block.language](block.code)


@each_page(PAGES)
def test_lists_are_set_apart_as_the_site_needs(page: Path) -> None:
    before, inside = "", False
    for line in text(page).splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        starts = bool(re.match(r"[-*] |\d+\. ", line)) and not inside
        assert not starts or not before.strip() or re.match(r" *([-*] |\d+\. )|  ", before), line
        before = line
