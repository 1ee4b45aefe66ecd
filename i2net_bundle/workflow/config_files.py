"""Find the configurations: beside the package in a checkout, inside it when installed from a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def bundle_root() -> Path:
    """Folder with ``configs/``: the value for ``--bundle_root``.

    Raises:
        FileNotFoundError: the installation has no configurations.
    """
    for root in (_PACKAGE.parent, _PACKAGE / "_bundle"):
        if (root / "configs" / "metadata.json").is_file():
            return root
    raise FileNotFoundError(
        f"There is no configs/ beside or inside {_PACKAGE}. Reinstall the package, or work in its checkout."
    )


def config_files(*names: str) -> list[str]:
    """Paths of configuration files by name, in the same order."""
    return [str(bundle_root() / "configs" / name) for name in names]
