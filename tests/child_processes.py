"""Where the Python processes that tests start look for modules."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CHILD_PATH = os.pathsep.join(map(str, (REPOSITORY / "tests" / "lean_imports", REPOSITORY)))
"""``PYTHONPATH`` of such a process: this checkout, without packages that MONAI imports unasked if they are installed,
which take a third of its start."""
