"""What a command answers: text for readers, or JSON for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a command prints on standard output, and its exit status.

    Attributes:
        text: for readers.
        content: the same for programs, as JSON data.
        status: exit status.
    """

    text: str
    content: Any
    status: int = 0

    def show(self, as_json: bool) -> None:
        """Print the text, or the content as JSON."""
        print(json.dumps(self.content, indent=1, ensure_ascii=False, default=str) if as_json else self.text)
