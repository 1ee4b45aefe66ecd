"""Refuse to mix predictions: which output folders may be written, for a whole cohort and for a part of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from i2net_bundle.io.counted import counted
from i2net_bundle.prediction.cohort_record import RECORD, refuse_other_settings
from i2net_bundle.prediction.parts import Part, part_folders
from i2net_bundle.workflow.folder_lock import contains_results, require_unlocked
from i2net_bundle.workflow.run_folders import check_results_dir


def check_prediction_dir(out_dir: str | Path, overwrite: bool, resume: bool) -> None:
    """Refuse to mix the results of two predictions.

    Args:
        out_dir: output folder of a whole cohort, or of a part.
        overwrite: replace earlier results.
        resume: continue an interrupted prediction.

    Raises:
        FileExistsError: the folder contains results, and neither option is on; or no record to continue; or parts.
        PermissionError: the folder is not writable.
        FolderInUseError: another process writes to it.
        ValueError: both options are on.
    """
    if overwrite and resume:
        raise ValueError("--continue keeps the results in the folder and --overwrite replaces them. Choose one.")
    parts = part_folders(out_dir)
    if parts:
        raise FileExistsError(
            f"{out_dir} contains {counted(len(parts), 'part')} of a cohort. Merge them with `i2net merge`, continue "
            "them with --part, or choose another output folder."
        )
    has_record = Path(out_dir, RECORD).is_file()
    check_results_dir(out_dir, overwrite or resume or has_record)
    if resume and not has_record and contains_results(out_dir):
        raise FileExistsError(
            f"{out_dir} contains files but no {RECORD}, so there is nothing to continue. Choose another output folder."
        )
    if has_record and not (overwrite or resume):
        raise FileExistsError(
            f"{out_dir} already contains predictions. Add --continue to predict what is left with the same settings, "
            "--overwrite to replace them, or choose another output folder."
        )


def check_part(out_dir: Path, part: Part) -> None:
    """Refuse a part whose cases another division, or a process without parts, would make too.

    Of two processes that start at once, the later one sees the other if both check again with their own lock in place.

    Args:
        out_dir: output folder of the whole cohort.
        part: the part.

    Raises:
        FileExistsError: the folder contains predictions of the whole cohort, or parts of another division.
        FolderInUseError: another process predicts the whole cohort, or merges its parts.
    """
    require_unlocked(out_dir)
    if (out_dir / RECORD).is_file():
        raise FileExistsError(
            f"{out_dir} already contains predictions of the whole cohort. Continue them without --part, or choose "
            "another output folder."
        )
    others = sorted({other.of for other in part_folders(out_dir)} - {part.of})
    if others:
        raise FileExistsError(
            f"{out_dir} contains parts of {others[0]}, which would contain the same cases as part {part}. Use parts of "
            f"{others[0]}, or choose another output folder."
        )


def require_settings_of_other_parts(out_dir: Path, part: Part, settings: Mapping[str, Any]) -> None:
    """Check that the other parts in an output folder were made with these settings.

    Raises:
        ValueError: a part was made with others.
    """
    for other, folder in part_folders(out_dir).items():
        if other != part and (folder / RECORD).is_file():
            refuse_other_settings(folder, settings)
