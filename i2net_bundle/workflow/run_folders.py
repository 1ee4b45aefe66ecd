"""Check output folders before any work starts. Nothing is overwritten unless the user asks for it."""

from __future__ import annotations

import itertools
import logging
import re
import tempfile
from pathlib import Path

import ignite.distributed as idist

from i2net_bundle.workflow.folder_lock import contains_results, require_unlocked
from i2net_bundle.workflow.processes import restarts_allowed

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
        FileExistsError: the folder contains a run and ``resume`` is off.
        FileNotFoundError: ``resume`` is on and there is nothing to resume, and ``torchrun`` has no ``--max-restarts``,
            which starts a run and resumes it by one command line.
        PermissionError: the folder is not writable.
        FolderInUseError: another process writes to it.
    """
    _require_writable(Path(output_dir))
    if idist.get_rank() == 0:  # the first of several processes may hold the lock already
        require_unlocked(output_dir)
    found, contains_run = checkpoints(output_dir), _contains_run(Path(output_dir))
    if found and not resume:
        raise FileExistsError(
            f"{output_dir} already contains a training run. Continue it with --resume true, or set another "
            "--output_dir."
        )
    if resume and not found and not contains_run and not restarts_allowed():
        raise FileNotFoundError(f"There is no run to resume in {output_dir}. Start it without --resume true.")
    if contains_run and not found:
        weights = Path(output_dir, WEIGHTS_NAME)
        raise (FileNotFoundError if resume else FileExistsError)(
            f"{output_dir} contains {weights.name} of a run but no checkpoint, so that run cannot be resumed. Set "
            f"another --output_dir; --init_weights {weights} starts from its weights."
        )


def set_run_aside(output_dir: str | Path, resume: bool) -> None:
    """Rename an earlier run in the output folder to ``<folder>-1``, ``<folder>-2``, ….

    Args:
        output_dir: the run's folder.
        resume: continue the run in this folder, which then keeps its name.
    """
    folder = Path(output_dir)
    if resume or idist.get_rank() > 0 or not _contains_run(folder):
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
        FileExistsError: the folder contains results and ``overwrite`` is off.
        PermissionError: the folder is not writable.
        FolderInUseError: another process writes to it.
    """
    _require_writable(Path(results_dir))
    require_unlocked(results_dir)
    if not overwrite and contains_results(results_dir):
        raise FileExistsError(
            f"{results_dir} already contains results. Choose another folder, or replace them with --overwrite "
            "(monai.bundle: --overwrite true)."
        )


def _contains_run(folder: Path) -> bool:
    return bool(checkpoints(folder)) or (folder / WEIGHTS_NAME).exists()


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


def checkpoints(output_dir: str | Path) -> list[Path]:
    """Checkpoints in a run's folder, the newest first."""
    files = Path(output_dir, "checkpoints").glob("epoch_*.pt")
    found = {path: match for path in files if (match := re.fullmatch(r"epoch_(\d+)(_stopped)?", path.stem))}
    # one that was stopped within epoch 3 is older than the one after epoch 3
    return sorted(found, key=lambda path: (int(found[path][1]), found[path][2] is None), reverse=True)


def checkpoint_path(output_dir: str | Path, epoch: int, stopped: bool = False) -> Path:
    """Path of the checkpoint after an epoch.

    Args:
        output_dir: the run's folder.
        epoch: number of the epoch, from 1.
        stopped: the run was stopped within this epoch.
    """
    return Path(output_dir, "checkpoints", f"epoch_{epoch:04d}{'_stopped' if stopped else ''}.pt")
