"""Parse the Markdown of the repository: links, headings, code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "models/README.md")),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / ".github").rglob("*.md"),
    ]
)
HISTORY = ROOT / "CHANGELOG.md"
"""The page that names what is gone as well."""

_FENCE = re.compile(
    r'^(?P<indent> *)```(?P<language>\S*)(?: title="(?P<title>[^"]+)")?[^\n]*\n(?P<code>.*?)^(?P=indent)```\s*$',
    re.MULTILINE | re.DOTALL,
)
_SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    code: str
    title: str | None = None
    """Name of the file that the block shows."""


def page_id(path: Path) -> str:
    """A page's path in the repository, as a test's id."""
    return path.relative_to(ROOT).as_posix()


def text(path: Path) -> str:
    """What a page says."""
    return path.read_text(encoding="utf-8")


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", text(path))


def blocks_of(markdown: str) -> list[Block]:
    """Fenced blocks of a text, in their order."""
    return [Block(found["language"], found["code"], found["title"]) for found in _FENCE.finditer(markdown)]


def blocks(path: Path) -> list[Block]:
    """Fenced blocks of a page, in their order."""
    return blocks_of(text(path))


def spans(path: Path) -> list[str]:
    """Code within the prose, each on one line."""
    return [" ".join(found.split()) for found in _SPAN.findall(prose(path))]


def links(path: Path) -> list[str]:
    """Targets of links and pictures."""
    return _LINK.findall(re.sub(r"`[^`\n]*`", "", prose(path)))


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and the site make them."""
    headings = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose(path)))
    return set(headings)


def commands(path: Path) -> list[str]:
    """Command lines of a page: those of its shell blocks, continued lines joined, and those within the prose."""
    lines = []
    for block in blocks(path):
        if block.language in ("bash", "sh", ""):
            lines += block.code.replace("\\\n", " ").splitlines()
    return [line.strip() for line in [*lines, *spans(path)] if line.strip()]
