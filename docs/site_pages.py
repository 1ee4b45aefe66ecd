"""Pages of the site that are not Markdown files of this folder: a MkDocs hook, see ``mkdocs.yml``.

The repository's own pages (model card, changelog, contributing) stay where they are. The API reference has one page for
each room of the package, built from the docstrings.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "i2net_bundle"
PAGES = {"model-card.md": "docs/README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
"""Pages of the site, and their files in the repository."""
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")

DOCTEST = re.compile(r"(?:^>>> .*\n?)(?:^(?!\s*$).*\n?)*", re.MULTILINE)
"""Lines of a doctest, to the next blank line."""


class Doctests(griffe.Extension):
    """Show the doctests in docstrings as code: in Markdown, ``>>>`` would be a quotation."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Put the doctests of one docstring between fences."""
        if obj.docstring is not None:
            obj.docstring.value = DOCTEST.sub(
                lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", obj.docstring.value
            )


def on_config(config: MkDocsConfig) -> None:
    """Add the reference to the navigation."""
    config.nav.append({"API reference": [{name: f"reference/{name}.md"} for name in _rooms()]})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for name, modules in _rooms().items():
        blocks = "\n\n".join([f"# {name}", *(_directive(module) for module in modules)])
        files.append(File.generated(config, f"reference/{name}.md", content=f"{blocks}\n"))


def on_page_markdown(markdown: str, page, config: MkDocsConfig, files: Files) -> str:
    """Point links to the site's pages; what is in the repository alone is named without a link."""
    source = PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    pages = {path: name for name, path in PAGES.items()}

    def replace(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in pages:
            return f"[{text}]({pages[path]}{anchor})"
        if path.startswith("docs/"):
            return f"[{text}]({path.removeprefix('docs/')}{anchor})"
        if path == "README.md":
            return f"[{text}](index.md)"
        return text if (ROOT / path).exists() else match[0]

    return LINK.sub(replace, markdown)


def _directive(module: str) -> str:
    """The mkdocstrings directive for a module; names that a package re-exports appear where they are defined."""
    path = ROOT / module.replace(".", "/") / "__init__.py"
    if not path.is_file():
        return f"::: {module}"
    defines = any(isinstance(node, ast.ClassDef | ast.FunctionDef) for node in ast.parse(path.read_text("utf-8")).body)
    return f"::: {module}" if defines else f"::: {module}\n    options:\n      members: false"


def _rooms() -> dict[str, list[str]]:
    """Public modules of the package by room, each room's package first."""
    rooms: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py"), key=lambda path: (path.parent, path.name != "__init__.py", path.name)):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0].startswith("_"):
            continue
        names = [part for part in parts if part != "__init__"]
        rooms.setdefault(parts[0], []).append(".".join(["i2net_bundle", *names]))
    return dict(sorted(rooms.items()))
