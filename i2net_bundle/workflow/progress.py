"""Progress of long work: a bar on a terminal, and lines with the time left in a log."""

from __future__ import annotations

import logging
import time
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

_EVERY_S = 30.0


class Progress:
    """A progress bar if standard error is a terminal; otherwise a log line every 30 seconds.

    Args:
        total: number of steps.
        desc: what is done, such as "predicting".
        unit: what a step is, in the singular.
        logger: logger of the lines.
        every_s: seconds between two lines.
    """

    def __init__(self, total: int, desc: str, unit: str, logger: logging.Logger, every_s: float = _EVERY_S) -> None:
        self.total, self.desc, self.unit, self.logger, self.every_s = total, desc, unit, logger, every_s
        self.done = 0

    def __enter__(self) -> Progress:
        self._redirect = logging_redirect_tqdm()
        self._redirect.__enter__()
        self._bar: Any = tqdm(total=self.total, desc=self.desc, unit=self.unit, disable=None)
        self._started = self._said = time.monotonic()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.close()
        self._redirect.__exit__(*error)

    def step(self) -> None:
        """Count one step."""
        self.done += 1
        self._bar.update()
        now = time.monotonic()
        if self._bar.disable and self.done < self.total and now - self._said >= self.every_s:
            self._said = now
            left = (now - self._started) / self.done * (self.total - self.done)
            self.logger.info(
                f"{self.desc}: {self.done} of {self.total} {self.unit}s ({self.done / self.total:.0%}), about "
                f"{duration(left)} left"
            )


def duration(seconds: float) -> str:
    """A duration for readers.

    >>> duration(42), duration(200), duration(8000)
    ('42 s', '3 min', '2 h 13 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
