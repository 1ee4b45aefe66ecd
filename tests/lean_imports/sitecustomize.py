"""Run by every Python process that the tests start, see ``tests/conftest.py``.

MONAI imports these packages if they are installed, which takes seconds. No process that the tests start uses them.
"""

import sys

for name in ("transformers", "mlflow"):
    sys.modules[name] = None  # type: ignore[assignment]  # "import" then fails, as if it were not installed
