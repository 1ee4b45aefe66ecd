"""Escape what would change the state of a terminal, or hide text, in names and messages that come from files."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path


def printable(text: str) -> str:
    r"""Escape control characters, escape sequences, direction marks and undecodable bytes; keep all else.

    >>> print(printable("scan\x1b[2J\n.nii"), printable("Größe"))
    scan\x1b[2J\n.nii Größe
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def printable_lines(text: str) -> str:
    """Escape a message of several lines; the line breaks are kept. See `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def shell_name(path: str | Path) -> str:
    r"""Quote a path for a command to copy; a name that cannot be printed as it is becomes FILE.

    >>> shell_name("my slide.png"), shell_name("a\n.png")
    ("'my slide.png'", 'FILE')
    """
    return shlex.quote(str(path)) if str(path).isprintable() else "FILE"


class PrintableFormatter(logging.Formatter):
    """Format log records with `printable_lines`, whatever names and messages they repeat."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        return printable_lines(super().format(record))
