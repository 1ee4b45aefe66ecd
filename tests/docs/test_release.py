"""Version, supported Pythons and the changelog agree wherever they are written."""

from __future__ import annotations

import re
import tomllib

import yaml

import i2net_bundle
from tests.docs.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHON = "Programming Language :: Python :: "


def test_the_changelog_starts_with_what_is_unreleased_and_then_this_version() -> None:
    sections = re.findall(r"^## \[(.+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections[:2] == ["Unreleased", i2net_bundle.__version__]


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == i2net_bundle.__version__


def test_the_hosted_workflow_runs_the_readmes_commands_on_every_supported_python() -> None:
    supported = [name.removeprefix(PYTHON) for name in PROJECT["classifiers"] if name.startswith(f"{PYTHON}3.")]
    assert PROJECT["requires-python"] == f">={supported[0]}"
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    commands = workflow["jobs"]["commands"]
    assert commands["strategy"]["matrix"] == {"python": supported, "target": ["check", "test", "demo"]}
    assert commands["steps"][-1]["run"] == "make ${{ matrix.target }} PYTHON=python"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"make {target}" in readme for target in commands["strategy"]["matrix"]["target"])


def test_the_package_declares_its_types() -> None:
    assert (ROOT / "i2net_bundle" / "py.typed").is_file()
