"""Find the ids that a configuration refers to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_REFERENCE = re.compile(r"[@%]([A-Za-z_]\w*(?:::\w+|#\w+)*)")


def references(value: Any) -> Iterator[str]:
    """Ids in the expressions, references and macros of a configuration, joined by ``::``; metadata is skipped."""
    if isinstance(value, str):
        for reference in _REFERENCE.findall(value):
            yield reference.replace("#", "::")
    elif isinstance(value, Mapping):
        for name, child in value.items():
            if name != "_meta_":
                yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)
