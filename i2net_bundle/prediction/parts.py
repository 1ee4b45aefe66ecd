"""Fixed shares of a cohort, which separate processes predict into folders of their own.

The share of a case depends on its name only: it is the SHA-256 of the name, modulo the number of parts. Neither the
order of the inputs nor other cases change it. The record of a part has a digest of all inputs, so that parts of other
inputs are not merged.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2net_bundle.data.image_files import image_paths

_FOLDER = re.compile(r"part_([1-9]\d*)_of_([1-9]\d*)")


@dataclass(frozen=True)
class Part:
    """One share of a cohort.

    Attributes:
        number: from 1.
        of: number of shares.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read a part as ``K/N``.

        Raises:
            ValueError: it has another form, or K is not one of 1 … N.

        >>> Part.parse("3/8")
        Part(number=3, of=8)
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if match is None:
            raise ValueError(f"--part takes K/N, such as 1/4, not '{text}'.")
        number, of = int(match[1]), int(match[2])
        if of == 0:
            raise ValueError(f"--part {text}: there must be at least one part, such as 1/1.")
        if number == 0:
            raise ValueError(
                f"--part {text}: parts are numbered from 1 to {of}. A SLURM array needs --array=1-{of}, not 0-{of - 1}."
            )
        if number > of:
            raise ValueError(f"--part {text}: there is no part {number} of {of}. The parts are 1 to {of}.")
        return cls(number, of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def folder(self, out_dir: Path) -> Path:
        """The folder of the part in an output folder."""
        return out_dir / f"part_{self.number}_of_{self.of}"

    def contains(self, case: str) -> bool:
        """Whether a case belongs to this part.

        >>> [Part(number, 2).contains("img0001") for number in (1, 2)]
        [True, False]
        """
        return int(hashlib.sha256(case.encode("utf-8", "surrogateescape")).hexdigest(), 16) % self.of == self.number - 1


def part_folders(out_dir: str | Path) -> dict[Part, Path]:
    """Folders of parts in an output folder that are in work or have files, in the order of their numbers."""
    folders = [path for path in Path(out_dir).glob("part_*") if path.is_dir() and any(path.iterdir())]
    found = {Part(int(match[1]), int(match[2])): path for path in folders if (match := _FOLDER.fullmatch(path.name))}
    return dict(sorted(found.items(), key=lambda item: (item[0].of, item[0].number)))


def describe_part(part: Part, cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Describe a part for its record: its number, the whole cohort, and the places of its cases in it.

    Args:
        part: the part.
        cases: all cases of the cohort, in their order.
    """
    names = [case["case"] for case in cases]
    digest = hashlib.sha256(json.dumps([[case["case"], *image_paths(case)] for case in cases]).encode()).hexdigest()
    places = {name: place for place, name in enumerate(names) if part.contains(name)}
    return {"number": part.number, "of": part.of, "cohort": len(names), "cohort_sha256": digest, "places": places}
