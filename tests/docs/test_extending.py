"""The examples of docs/extending.md: each section's code is extracted from the page and run in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.child_processes import CHILD_PATH
from tests.docs.pages import ROOT, Block, blocks_of, text

PAGE = ROOT / "docs" / "extending.md"
SECTIONS = {
    title: blocks_of(body)
    for title, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text(PAGE), re.MULTILINE | re.DOTALL)
}
"""Code of each section, by the section's title."""
ADDED = ("Add a network", "Add a data set", "Add a metric", "Add a file format")


def run_block(block: Block, folder: Path) -> str:
    """Write a block with a file name, run the others; what a command prints is returned."""
    if block.title:
        (folder / block.title).write_text(block.code, encoding="utf-8")
        return ""
    shell = {"bash": ["bash", "-euc", block.code], "python": [sys.executable, "-c", block.code]}
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": CHILD_PATH,
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(shell[block.language], cwd=folder, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"{block.code}\n{done.stdout[-3000:]}{done.stderr[-5000:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("title", ADDED)
def test_the_example_of_a_section_runs_and_prints_what_the_page_says(title: str, tmp_path: Path) -> None:
    printed = ""
    for block in SECTIONS[title]:
        if block.language == "text":
            missing = [line for line in block.code.splitlines() if line.strip() and line not in printed]
            assert missing == [], printed
        else:
            printed = run_block(block, tmp_path)


def test_every_block_of_the_page_is_run_or_compared() -> None:
    for title, blocks in SECTIONS.items():
        for block in blocks:
            assert title in ADDED, f"the test runs no section '{title}'"
            assert block.title or block.language in ("bash", "python", "text")
    assert all(SECTIONS[title] for title in ADDED)
