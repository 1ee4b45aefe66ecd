"""The container files agree with the project: what an image contains, and who reaches the server."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from scripts import monai_label
from tests.monai_label.bundles import ROOT

CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")
SERVICE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["monai-label"]


@pytest.fixture
def copied() -> list[Path]:
    """Paths that `.dockerignore` lets into an image."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    return [ROOT / line[1:] for line in lines if line.startswith("!")]


def test_an_image_contains_what_the_package_is_built_from(copied: list[Path]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    scripts = re.findall(r"scripts/\w+\.py", CONTAINERFILE)
    constraints = re.findall(r"--constraint (\S+)", CONTAINERFILE)
    assert scripts and constraints
    named = ["pyproject.toml", project["project"]["readme"], *project["project"]["license-files"], *included]
    for name in {*named, *scripts, *constraints, project["tool"]["hatch"]["version"]["path"]}:
        path = ROOT / name
        assert path.exists(), name
        assert any(path == entry or entry in path.parents for entry in copied), name


def test_an_image_contains_no_data_runs_weights_or_history(copied: list[Path]) -> None:
    for name in (".git", ".venv", "data", "runs", "models", "tests", ".monai_label"):
        assert ROOT / name not in copied, name
    assert all(path.exists() for path in copied)


def test_optional_parts_of_an_image_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = re.search(r"^ARG EXTRAS=(\S+)$", CONTAINERFILE, re.MULTILINE)
    assert found is not None
    assert set(found[1].split(",")) <= set(project["project"]["optional-dependencies"])


def test_the_server_is_reached_from_its_own_machine_only_and_writes_only_what_is_mounted() -> None:
    assert SERVICE["ports"] == ["127.0.0.1:${PORT:-8000}:8000"]
    assert SERVICE["read_only"] is True and SERVICE["cap_drop"] == ["ALL"]
    assert f"--target {SERVICE['build']['target']} ." in CONTAINERFILE
    assert "USER 10001:10001" in CONTAINERFILE.split("FROM sources AS monai-label")[1].split("FROM")[0]


def test_the_start_script_takes_the_options_of_the_compose_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    options = [re.sub(r"\$\{TASK:-(\w+)\}", r"\1", part) for part in SERVICE["command"][2:]]
    options = [part.replace("/studies", str(tmp_path)).replace("/weights", str(tmp_path)) for part in options]
    monkeypatch.setattr(sys, "argv", [str(ROOT / SERVICE["command"][1]), *options])
    arguments = monai_label.parse()
    assert arguments.host == "0.0.0.0" and arguments.task == "ct"
    assert arguments.environment in CONTAINERFILE
