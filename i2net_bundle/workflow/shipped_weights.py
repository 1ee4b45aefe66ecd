"""The weights that come with the bundle, and the choice of weights when the user names none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from i2net_bundle.io.writing import file_sha256
from i2net_bundle.tasks import TASKS
from i2net_bundle.workflow.config_files import bundle_root
from i2net_bundle.workflow.run_folders import WEIGHTS_NAME
from i2net_bundle.workflow.run_records import SETTINGS_NAME, run_record

CHECKSUMS = "SHA256SUMS"
"""Checksums of the files in a folder of weights, as ``sha256sum`` writes and checks them."""


@dataclass(frozen=True)
class ShippedWeights:
    """A folder of weights that comes with the bundle.

    Attributes:
        folder: contains ``model.pt``, its record ``settings.json`` and their checksums.
    """

    folder: Path

    @property
    def path(self) -> Path:
        """The weights file."""
        return self.folder / WEIGHTS_NAME

    def checked(self) -> Path:
        """Return the path of the weights after comparing them and their record with the checksums.

        Raises:
            ValueError: a file is missing or differs from the one that came with the bundle.
        """
        for name, expected in self._checksums().items():
            path = self.folder / name
            found = file_sha256(path) if path.is_file() else None
            if found != expected:
                state = "is missing" if found is None else f"has SHA-256 {found}"
                raise ValueError(
                    f"{path} is not the file that came with the bundle: it {state}; {self.folder / CHECKSUMS} expects "
                    f"{expected}. Restore it (git checkout -- {self.folder}, or reinstall the package), or pass your "
                    "own weights with --weights."
                )
        return self.path

    def _checksums(self) -> dict[str, str]:
        path = self.folder / CHECKSUMS
        try:
            pairs = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
            found = {name: digest for digest, name in pairs}
        except (OSError, ValueError):
            found = {}
        if found.keys() != {WEIGHTS_NAME, SETTINGS_NAME}:
            raise ValueError(
                f"{path} does not list the checksums of {WEIGHTS_NAME} and {SETTINGS_NAME}. Restore it, or pass your "
                "own weights with --weights."
            )
        return found


def shipped_weights(task: str | None, root: Path) -> ShippedWeights | None:
    """Return the weights that came with the bundle in ``root`` for a task; None if there are none."""
    if task not in TASKS or TASKS[task].shipped_weights is None:
        return None
    folder = root / "models" / str(TASKS[task].shipped_weights)
    return ShippedWeights(folder) if folder.is_dir() else None


def default_weights(task: str | None = None, bundle: str | Path | None = None) -> Path:
    """Return the weights to use when the user names none.

    These are ``models/model.pt`` of the bundle, unless they are missing or of another task and weights for ``task``
    come with the bundle, in `Task.shipped_weights`.

    Args:
        task: one of `i2net_bundle.tasks.TASKS`; None if the user names none.
        bundle: folder of the bundle; None for this one. A packaged bundle has no other weights than its own.

    Raises:
        ValueError: the weights that come with the bundle are damaged, or the record of ``models/model.pt`` is.
    """
    root = Path(bundle) if bundle is not None else bundle_root()
    own, shipped = root / "models" / WEIGHTS_NAME, shipped_weights(task, root)
    if shipped is None or (own.is_file() and run_record(own).task in (None, task)):
        return own
    return shipped.checked()
