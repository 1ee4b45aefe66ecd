"""Segment many images into one output folder. One image that fails never stops the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from i2net_bundle.data.image_files import image_paths
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.io.privacy import without_identifiers
from i2net_bundle.io.writing import DiskFullError, require_space
from i2net_bundle.prediction.case_files import files_of_case, write_prediction
from i2net_bundle.prediction.cohort_record import (
    ERROR,
    FINDINGS,
    OK,
    RECORD,
    WARNING,
    CaseRecord,
    CohortRecord,
    check_prediction_dir,
    image_state,
)
from i2net_bundle.prediction.inputs import find_inputs, print_hidden_names
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.workflow.errors import message_of, root_cause
from i2net_bundle.workflow.folder_lock import folder_lock
from i2net_bundle.workflow.processes import require_one_process
from i2net_bundle.workflow.stopping import graceful_stop

logger = logging.getLogger("i2net.prediction")

_RESERVE = 2**20
"""Free bytes to require before each case, so that the tables can always be written."""


def predict_files(
    inputs: Sequence[str | Path],
    out_dir: str | Path,
    predictor: Predictor,
    pictures: bool = True,
    overwrite: bool = False,
    resume: bool = False,
) -> list[str]:
    """Segment files and folders: a mask per image, and statistics, warnings and failures of all.

    SIGTERM and SIGINT stop the work after the current image. The record of what is done is written whatever happens.
    Neutral names that stand for DICOM folders are printed.

    Args:
        inputs: images, folders of images, and folders of DICOM series.
        out_dir: output folder.
        predictor: network and preprocessing.
        pictures: write a picture of each mask.
        overwrite: first remove all earlier files of the same cases.
        resume: skip the cases that are done in ``out_dir`` with the same weights and settings.

    Returns:
        the images that failed, as `find_inputs` shows them.

    Raises:
        FileNotFoundError: an input does not exist, or a folder contains no image.
        FileExistsError: the folder contains results, and neither ``overwrite`` nor ``resume`` is on.
        FolderInUseError: another process writes to the folder.
        DiskFullError: the disk is full; the case in work is removed.
        ValueError: inputs are of another task or would be replaced, or the settings differ from those to resume.
        Stopped: a signal arrived before the last case.
    """
    out_dir = Path(out_dir)
    require_one_process("Prediction")
    series = predictor.options.series if isinstance(predictor.options, VolumeOptions) else None
    cases = find_inputs(inputs, predictor.reads_volumes, series, len(predictor.description.channels), out_dir)
    print_hidden_names(cases)
    with folder_lock(out_dir), graceful_stop() as stop:
        check_prediction_dir(out_dir, overwrite, resume)
        earlier = _earlier_files(out_dir, cases) if overwrite or resume else {}
        record = CohortRecord(out_dir, predictor.describe() | {"pictures": pictures}, resume)
        left = [case for case in cases if not record.is_done(case)]
        for path in (path for case in left for path in earlier.get(case["case"], ())):
            path.unlink()
        if resume:
            logger.info(f"{len(cases) - len(left)} of {len(cases)} images are done")
        names = [case["case"] for case in cases]
        pending = list(left)
        try:
            for case in tqdm(left, desc="predicting", unit="image", disable=None):
                require_space(out_dir / RECORD, _RESERVE)
                record.add(_predict_case(case, out_dir, predictor, pictures))
                pending.remove(case)
                if stop.requested:
                    break
        except BaseException:
            with suppress(OSError):  # a full disk is reported already
                record.write_tables(names, complete=False)
            raise
        record.write_tables(names, complete=not pending)
        if pending:
            stop.exit_if_requested(
                f"{len(cases) - len(pending)} of {len(cases)} images are done. Run the same command with --continue to "
                "predict the others."
            )
    outcomes = [record.outcomes[name] for name in names]
    implausible = [outcome.case for outcome in outcomes if outcome.implausible]
    if implausible:
        logger.warning(
            f"Implausible masks: {len(implausible)} of {len(outcomes)} ({', '.join(implausible[:5])}"
            f"{', …' if len(implausible) > 5 else ''}). Look at their pictures; {out_dir / FINDINGS} lists the reasons."
        )
    return [outcome.image for outcome in outcomes if outcome.status == ERROR]


def _predict_case(case: Mapping[str, Any], out_dir: Path, predictor: Predictor, pictures: bool) -> CaseRecord:
    """Segment a case and write its files; an error becomes its outcome."""
    started = time.perf_counter()
    state = image_state(case)
    try:
        prediction = predictor.predict(case["image"], case["case"])
        files = write_prediction(prediction, out_dir, pictures)
    except DiskFullError:
        raise
    except Exception as error:
        fault = root_cause(error)
        reason = _reason(fault, image_paths(case)[0])
        logger.error(reason if reason.startswith(case["shown"]) else f"{case['shown']}: {reason}")
        logger.debug("traceback:", exc_info=True)
        findings = tuple(fault.findings) if isinstance(fault, DataError) else ()
        return CaseRecord(case["case"], case["shown"], ERROR, image_state=state, findings=findings, reason=reason)
    return CaseRecord(
        case["case"],
        case["shown"],
        WARNING if prediction.findings else OK,
        round(time.perf_counter() - started, 3),
        state,
        tuple(path.relative_to(out_dir).as_posix() for path in files),
        prediction.statistics,
        tuple(prediction.implausible),
        tuple(prediction.findings),
    )


def _earlier_files(out_dir: Path, cases: Sequence[Mapping[str, Any]]) -> dict[str, list[Path]]:
    """Find the earlier files of the cases.

    Raises:
        ValueError: an input is among them.
    """
    earlier = {case["case"]: files_of_case(out_dir, case["case"]) for case in cases}
    inputs = {Path(path).resolve() for case in cases for path in image_paths(case)}
    for path in (path for paths in earlier.values() for path in paths):
        if path.resolve() in inputs:
            raise ValueError(f"{path} is an input and would be replaced. Choose another output folder.")
    return earlier


def _reason(fault: BaseException, image: str) -> str:
    """Describe an error; one of an unexpected type with its type, because its text alone may say little."""
    expected = isinstance(fault, DataError | OSError | torch.OutOfMemoryError)
    reason = message_of(fault) if expected else f"{type(fault).__name__}: {fault}"
    return without_identifiers(reason) if Path(image).is_dir() else reason
