"""What became of a cohort, for the command line and for scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2net_bundle.prediction.cohort_record import ERROR, OK, WARNING, CaseRecord

SOME_FAILED, ALL_FAILED = 1, 3
"""Exit status if some images failed, and if all did; 2 is that of wrong options."""


@dataclass(frozen=True)
class CohortResult:
    """What became of the cases of a cohort, or of a part of one.

    Attributes:
        out_dir: folder with their files.
        outcomes: outcome of each case, in the order of the inputs.
        done_before: number of the cases that an earlier process had done.
    """

    out_dir: Path
    outcomes: Sequence[CaseRecord]
    done_before: int = 0

    @property
    def failed(self) -> list[str]:
        """The images that failed, as `find_inputs` shows them."""
        return [outcome.image for outcome in self.outcomes if outcome.status == ERROR]

    @property
    def exit_status(self) -> int:
        """0 if no image failed, else `SOME_FAILED` or `ALL_FAILED`."""
        if not self.failed:
            return 0
        return ALL_FAILED if len(self.failed) == len(self.outcomes) else SOME_FAILED

    def as_json(self) -> dict[str, Any]:
        """The result as JSON data."""
        count = Counter(outcome.status for outcome in self.outcomes)
        return {
            "out": str(self.out_dir),
            "images": len(self.outcomes),
            "done_before": self.done_before,
            OK: count[OK],
            WARNING: count[WARNING],
            ERROR: [{"image": item.image, "reason": item.reason} for item in self.outcomes if item.status == ERROR],
        }
