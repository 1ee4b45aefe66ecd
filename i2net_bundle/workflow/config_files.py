"""Where the bundle's configurations lie: beside the package in a checkout, inside it once installed from a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def bundle_root() -> Path:
    """Folder that holds ``configs/``: the value for ``--bundle_root`` and the start of configuration paths.

    Raises:
        FileNotFoundError: the installation carries no configurations.
    """
    for root in (_PACKAGE.parent, _PACKAGE / "_bundle"):
        if (root / "configs" / "metadata.json").is_file():
            return root
    raise FileNotFoundError(f"No configs/ beside or inside {_PACKAGE}. Reinstall the package, or work in its checkout.")


def config_files(*names: str) -> list[str]:
    """Paths of configurations by file name, in the order in which they override each other."""
    return [str(bundle_root() / "configs" / name) for name in names]
