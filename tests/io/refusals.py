"""The finding with which a reader refuses a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from i2net_bundle.io.findings import DataError, Finding, Severity
from i2net_bundle.io.options import VolumeOptions

PLAIN = VolumeOptions()


def refusal(read: Callable[..., Any], path: str | Path, options: VolumeOptions = PLAIN) -> Finding:
    """The single error that a file is refused with."""
    with pytest.raises(DataError) as caught:
        read(path, options)
    (finding,) = caught.value.findings
    assert (finding.severity, finding.file) == (Severity.ERROR, str(path))
    assert str(caught.value) == f"{path}: {finding.problem}. {finding.remedy}"
    assert "\n" not in str(finding)
    return finding
