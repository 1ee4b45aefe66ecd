"""Stop work at SIGTERM or SIGINT (Ctrl-C) after the current step, instead of in the middle of it.

The exit codes are those of shells: 143 after SIGTERM, 130 after SIGINT.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger("i2net.stop")


class Stopped(SystemExit):
    """Ends a stopped process with exit code 128 + signal.

    Args:
        signal: the signal that stopped it.
        message: what is saved and how to continue.
    """

    def __init__(self, signal: signal.Signals, message: str) -> None:
        super().__init__(128 + signal)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Stop:
    """A request to stop.

    Attributes:
        signal: the received signal; None as long as no stop is requested.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._process = os.getpid()

    @property
    def requested(self) -> bool:
        """Whether a stop is requested."""
        return self.signal is not None

    def exit_if_requested(self, message: str) -> None:
        """Log what is saved and how to continue, and end the process if a stop is requested.

        Raises:
            Stopped: a stop is requested.
        """
        if self.signal is not None:
            logger.warning(f"stopped by {self.signal.name}: {message}")
            raise Stopped(self.signal, message)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: the first signal sets the request; a second SIGINT stops at once."""
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is None:
            self.signal = signal.Signals(number)
            if os.getpid() == self._process:  # forked data-loader workers stay silent
                text = f"\n{self.signal.name}: stopping after the current step. Ctrl-C stops at once.\n"
                os.write(2, text.encode())  # logging is not safe in a signal handler


_active: Stop | None = None


@contextmanager
def graceful_stop() -> Iterator[Stop]:
    """Turn SIGTERM and SIGINT into a request that a loop checks between its steps.

    The previous handlers return at the end of the block. Nested blocks share one request. Outside the main thread,
    where Python allows no signal handlers, and for signals that the process ignores (``nohup``), nothing changes.

    Yields:
        the request: call its `Stop.exit_if_requested` after each step.
    """
    global _active
    if _active is not None or threading.current_thread() is not threading.main_thread():
        yield _active or Stop()
        return
    stop = _active = Stop()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    replaced = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    try:
        for number in replaced:
            signal.signal(number, stop.receive)
        yield stop
    finally:
        _active = None
        for number, handler in replaced.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
