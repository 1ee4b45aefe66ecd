"""Check output folders before any work starts. Nothing is overwritten without being asked."""

from __future__ import annotations

import itertools
import logging
import re
import tempfile
from pathlib import Path

import ignite.distributed as idist

from i2net_bundle.workflow.folder_lock import holds_results, require_unlocked

logger = logging.getLogger("i2net.training")

WEIGHTS_NAME = "model.pt"
BEST_NAME = "model_best.pt"
_NAME_ANOTHER = "Choose another output folder: --out of i2net, --output_dir of monai.bundle."


def check_output_dir(output_dir: str | Path, resume: bool) -> None:
    """Refuse to start a training run over another one.

    Args:
        output_dir: the run's folder.
        resume: continue the run in this folder.

    Raises:
        FileExistsError: the folder holds a run and ``resume`` is off.
        FileNotFoundError: ``resume`` is on and there is nothing to resume.
        PermissionError: the folder is not writable.
        FolderInUseError: another process writes to it.
    """
    _require_writable(Path(output_dir))
    require_unlocked(output_dir)
    if resume:
        newest_checkpoint(output_dir)
    elif _holds_run(Path(output_dir)):
        raise FileExistsError(
            f"{output_dir} already holds a training run. Continue it with --resume true, or set another --output_dir."
        )


def set_run_aside(output_dir: str | Path, resume: bool) -> None:
    """Rename an earlier run in the output folder to ``<folder>-1``, ``<folder>-2``, ….

    Args:
        output_dir: the run's folder.
        resume: continue the run in this folder, which then keeps its name.
    """
    folder = Path(output_dir)
    if resume or idist.get_rank() > 0 or not _holds_run(folder):
        return
    require_unlocked(folder)
    names = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(1))
    aside = next(path for path in names if not path.exists())
    folder.rename(aside)
    logger.info(f"the earlier run in {folder} is kept as {aside}")


def check_results_dir(results_dir: str | Path, overwrite: bool) -> None:
    """Refuse to mix the results of two evaluations or predictions.

    Args:
        results_dir: folder for scores, masks and pictures.
        overwrite: allow existing results to be replaced.

    Raises:
        FileExistsError: the folder holds results and ``overwrite`` is off.
        PermissionError: the folder is not writable.
        FolderInUseError: another process writes to it.
    """
    _require_writable(Path(results_dir))
    require_unlocked(results_dir)
    if not overwrite and holds_results(results_dir):
        raise FileExistsError(
            f"{results_dir} already holds results. Choose another folder, or replace them with --overwrite "
            "(monai.bundle: --overwrite true)."
        )


def _holds_run(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("*.pt")) or (folder / WEIGHTS_NAME).exists()


def _require_writable(folder: Path) -> None:
    """Check that a folder, or its nearest existing parent, is writable."""
    if folder.resolve().is_relative_to(Path(__file__).resolve().parents[1]):
        raise PermissionError(f"{folder} is inside the installed package and would be deleted with it. {_NAME_ANOTHER}")
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as cause:
        raise PermissionError(f"{existing} is not writable ({cause.strerror}). {_NAME_ANOTHER}") from cause


def newest_checkpoint(output_dir: str | Path) -> Path:
    """Path of the checkpoint with the highest epoch in a run's folder.

    Raises:
        FileNotFoundError: the folder holds no checkpoint.
    """
    files = Path(output_dir, "checkpoints").glob("epoch_*.pt")
    found = [path for path in files if re.fullmatch(r"epoch_\d+", path.stem)]
    if not found:
        raise FileNotFoundError(f"No checkpoint to resume from in {output_dir}/checkpoints. Run without --resume true.")
    return max(found, key=lambda path: int(path.stem.split("_")[1]))
