"""Nothing is overwritten unasked: folders are checked before any work starts."""

from __future__ import annotations

from pathlib import Path

from i2net_bundle.training.checkpoints import WEIGHTS_NAME, newest_checkpoint


def check_output_dir(output_dir: str | Path, resume: bool) -> None:
    """Refuse to start a training run over another one.

    Args:
        output_dir: the run's folder.
        resume: whether the run continues the one that lies there.

    Raises:
        FileExistsError: the folder holds a run and ``resume`` is off.
        FileNotFoundError: ``resume`` is on and there is nothing to continue.
    """
    if resume:
        newest_checkpoint(output_dir)
    elif any(Path(output_dir, "checkpoints").glob("*.pt")) or Path(output_dir, WEIGHTS_NAME).exists():
        raise FileExistsError(
            f"{output_dir} already holds a training run. Continue it with --resume true, or name another --output_dir."
        )


def check_results_dir(results_dir: str | Path, overwrite: bool) -> None:
    """Refuse to mix the results of two evaluations.

    Args:
        results_dir: folder of scores, masks and pictures.
        overwrite: whether results that are there may be replaced.

    Raises:
        FileExistsError: the folder holds results and ``overwrite`` is off.
    """
    if not overwrite and Path(results_dir).is_dir() and any(Path(results_dir).iterdir()):
        raise FileExistsError(
            f"{results_dir} already holds results. Name another --results_dir, or replace them with --overwrite true."
        )
