"""SIGTERM and SIGINT stop work between two steps, with the exit codes of shells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from i2net_bundle.workflow.stopping import Stopped, graceful_stop


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_after_the_current_step(
    number: signal.Signals, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    done = []
    with pytest.raises(Stopped) as stopped, graceful_stop() as stop:
        for step in range(5):
            if step == 2:
                os.kill(os.getpid(), number)
            done.append(step)
            stop.exit_if_requested("3 of 5 steps are done. Run the command again to continue.")
    assert done == [0, 1, 2]
    assert stopped.value.code == code
    assert caplog.messages == [f"stopped by {number.name}: 3 of 5 steps are done. Run the command again to continue."]


def test_a_second_sigint_stops_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), graceful_stop():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_the_previous_handlers_return_also_after_an_error() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(ValueError, match="broken"), graceful_stop():
        raise ValueError("broken")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_nested_blocks_share_one_request() -> None:
    with graceful_stop() as outer:
        with graceful_stop() as inner:
            os.kill(os.getpid(), signal.SIGTERM)
            assert inner.requested
        assert outer is inner


def test_outside_the_main_thread_nothing_changes() -> None:
    handler, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with graceful_stop() as stop:
            seen.append((stop.requested, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, handler)]


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with graceful_stop() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_process_exits_with_the_code_and_no_traceback() -> None:
    code = """
        import os, signal
        from i2net_bundle.workflow.stopping import graceful_stop
        with graceful_stop() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            stop.exit_if_requested("Run again to continue.")
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, encoding="utf-8", check=False
    )
    assert result.returncode == 143
    assert "stopped by SIGTERM: Run again to continue." in result.stderr
    assert "Traceback" not in result.stderr
