"""Remember faultless cases, so each is checked only once.

Only hashes of content, options and version are stored: no name, path or value of a patient's file. Cases with findings
are checked and reported each time.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import platformdirs

import i2net_bundle
from i2net_bundle.io.volumes import content_sha256

CHECKS_VERSION = 4

logger = logging.getLogger("i2net.checks")


class Verdicts:
    """Hashes of cases that passed every check.

    Args:
        folder: where hashes are stored; default the user's cache folder. Without write access nothing is stored.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.path = Path(folder or platformdirs.user_cache_dir("i2net")) / f"faultless-{CHECKS_VERSION}.txt"
        try:
            self.known = set(self.path.read_text(encoding="ascii").split())
        except (OSError, UnicodeDecodeError):
            self.known = set()

    def key(self, files: Sequence[str | Path], options: object) -> str:
        """Hash the files' content and everything else the verdict depends on.

        Raises:
            OSError: a file cannot be read.
        """
        digest = hashlib.sha256(repr((CHECKS_VERSION, i2net_bundle.__version__, options)).encode())
        for file in files:
            digest.update(content_sha256(file).encode())
        return digest.hexdigest()

    def __contains__(self, key: object) -> bool:
        return key in self.known

    def add(self, key: str) -> None:
        """Store a faultless case; several processes may do so at once."""
        self.known.add(key)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="ascii") as file:
                file.write(f"{key}\n")  # one short append is atomic
        except OSError as cause:
            logger.debug(f"{self.path} cannot be written ({cause}); files are checked again next time")
