"""A preparation that is stopped leaves nothing: neither half a data set nor a hidden copy."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from i2net_bundle.data.phantoms import make_ct_phantoms
from i2net_bundle.prepare import prepare_synapse, synapse
from i2net_bundle.workflow.stopping import Stopped


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_between_two_cases_and_nothing_is_left(
    number: signal.Signals, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ct_phantoms(tmp_path / "source", 3, 0, 0, shape=(24, 24, 6), spacing_mm=(16, 16, 40))
    read, done = synapse._read, []

    def read_and_signal(*arguments: Any) -> Any:
        if len(done) == 1:
            os.kill(os.getpid(), number)
        done.append(arguments[0])
        return read(*arguments)

    monkeypatch.setattr(synapse, "_read", read_and_signal)
    with pytest.raises(Stopped, match=r"No data set was written\. Run the command again") as stopped:
        prepare_synapse(tmp_path / "source", tmp_path / "prepared")
    assert stopped.value.code == code
    assert len(done) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
