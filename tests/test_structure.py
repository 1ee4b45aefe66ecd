"""The rooms of the package: imports go down only, modules import in no circle, and one name stands for one idea."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "i2net_bundle"
ROOMS = (
    "labels",
    "io",
    "hardware",
    "tasks",
    "data",
    "checks",
    "transforms",
    "metrics",
    "workflow",
    "networks",
    "losses",
    "figures",
    "prediction",
    "pacs",
    "evaluation",
    "training",
    "reports",
    "packaging",
    "studies",
    "demo",
    "federation",
    "prepare",
    "cli",
)
"""Rooms, lowest first: a module imports from its own room and from the rooms before it."""
SAME_IDEA = {
    "decoder.py": {"networks"},
    "on_workers.py": {"prediction", "evaluation"},
    "options.py": {"io", "cli"},
    "predict.py": {"prediction", "cli"},
    "report.py": {"reports", "cli"},
    "study.py": {"studies", "cli"},
}
"""Names that recur on purpose, and in which rooms: a plain and a fast form, a function and its command line."""


def module_name(path: Path) -> str:
    """Dotted name of a module; of a package, its folder's."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(name: str) -> Iterator[str]:
    """Modules of the package that a module imports, inside functions too."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found = full if full in MODULES else node.module
                if found in MODULES:
                    yield str(found)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)


IMPORTS = {name: sorted(set(imported(name)) - {"i2net_bundle"}) for name in MODULES}
"""What each module imports; the package itself, which contains the version and imports lazily, is left out."""


def room(module: str) -> str:
    """Room of a module."""
    return module.split(".")[1]


def upward(imports: dict[str, list[str]]) -> list[str]:
    """Imports from a room to a later one."""
    rank = {name: index for index, name in enumerate(ROOMS)}
    return [
        f"{name} imports {target}"
        for name, targets in imports.items()
        if name.count(".") and not room(name).startswith("__")
        for target in targets
        if rank[room(target)] > rank[room(name)]
    ]


def circle(imports: dict[str, list[str]]) -> list[str]:
    """Modules that import each other in a circle; empty if there are none."""
    graph = {name: targets for name, targets in imports.items() if name != "i2net_bundle"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_module_lies_in_a_known_room() -> None:
    rooms = {room(name) for name in MODULES if name.count(".") and not room(name).startswith("__")}
    assert rooms == set(ROOMS)


def test_imports_between_rooms_only_go_down() -> None:
    assert upward(IMPORTS) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(IMPORTS) == []


def test_one_file_name_stands_for_one_idea() -> None:
    places = defaultdict(list)
    for name, path in MODULES.items():
        if not path.name.startswith("__"):
            places[path.name].append(name)
    repeated = {file: names for file, names in places.items() if len(names) > 1}
    assert {file: names for file, names in repeated.items() if {*map(room, names)} != SAME_IDEA.get(file)} == {}


def test_no_package_exports_a_name_that_one_of_its_modules_has() -> None:
    """`pydoc.locate`, by which MONAI finds ``_target_``, takes the function up to Python 3.12 and then the module."""
    hidden = []
    for package, path in MODULES.items():
        if path.name == "__init__.py":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
                if names and node.module != package:
                    hidden += [f"{package}.{name}" for name in names if f"{package}.{name}" in MODULES]
    assert hidden == []


def test_contributing_lists_the_rooms_in_their_order() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = re.findall(r"`i2net_bundle/(\w+)(?:/|\.py)`", page.partition("| room |")[2].partition("\n\n")[0])
    assert tuple(listed) == ROOMS


def test_an_upward_import_and_a_circle_are_found() -> None:
    assert upward({"i2net_bundle.io.nifti": ["i2net_bundle.cli.data"]}) == [
        "i2net_bundle.io.nifti imports i2net_bundle.cli.data"
    ]
    assert set(circle({"a": ["b"], "b": ["c"], "c": ["a"]})) == {"a", "b", "c"}
