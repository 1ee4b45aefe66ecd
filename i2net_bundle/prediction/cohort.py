"""Segment many images into one output folder. One image that fails never stops the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from i2net_bundle.data.image_files import image_paths
from i2net_bundle.io.findings import DataError, Finding
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.io.privacy import without_identifiers
from i2net_bundle.io.writing import DiskFullError, require_space
from i2net_bundle.prediction.case_files import Extras, files_of_case, write_prediction
from i2net_bundle.prediction.cohort_record import (
    ERROR,
    FINDINGS,
    OK,
    RECORD,
    WARNING,
    CaseRecord,
    CohortRecord,
    image_state,
    package_versions,
)
from i2net_bundle.prediction.cohort_result import CohortResult
from i2net_bundle.prediction.inputs import find_inputs, print_hidden_names
from i2net_bundle.prediction.output_folders import check_part, check_prediction_dir, require_settings_of_other_parts
from i2net_bundle.prediction.parts import Part, describe_part
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.workflow.errors import message_of, root_cause
from i2net_bundle.workflow.folder_lock import folder_lock
from i2net_bundle.workflow.processes import require_one_process
from i2net_bundle.workflow.progress import Progress
from i2net_bundle.workflow.stopping import graceful_stop

logger = logging.getLogger("i2net.prediction")

RESERVE = 2**20
"""Free bytes to require before each case, so that the tables can always be written."""


class Segmenter(Protocol):
    """Where cases are segmented: in this process, or on the workers of a cluster."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Task, weights and settings, for the record."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the packages, for the record."""

    def outcomes(
        self, cases: Sequence[Mapping[str, Any]], out_dir: Path, extras: Extras, stopping: Callable[[], bool]
    ) -> Iterator[CaseRecord]:
        """Segment cases, write their files, and yield their outcomes as they end, until a stop is requested."""


class ThisProcess:
    """Segment cases one after another in this process.

    Args:
        predictor: network and preprocessing.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.settings, self.versions = predictor.describe(), package_versions()

    def outcomes(
        self, cases: Sequence[Mapping[str, Any]], out_dir: Path, extras: Extras, stopping: Callable[[], bool]
    ) -> Iterator[CaseRecord]:
        """See `Segmenter`."""
        for case in cases:
            require_space(out_dir / RECORD, RESERVE)
            yield predict_case(case, out_dir, self.predictor, extras)
            if stopping():
                return


def predict_files(
    inputs: Sequence[str | Path],
    out_dir: str | Path,
    predictor: Predictor,
    pictures: bool = True,
    overwrite: bool = False,
    resume: bool = False,
    column: str | None = None,
    part: Part | None = None,
    segmenter: Segmenter | None = None,
    rtstruct: bool = False,
) -> CohortResult:
    """Segment files and folders: a mask per image, and statistics, warnings and failures of all.

    SIGTERM and SIGINT stop the work after the images in work. The record of what is done is written whatever happens.
    Neutral names that stand for DICOM folders are printed.

    Args:
        inputs: images, folders of images and of DICOM series, lists of both, and patterns; see `find_inputs`.
        out_dir: output folder.
        predictor: network and preprocessing.
        pictures: write a picture of each mask.
        overwrite: first remove all earlier files of the same cases.
        resume: skip the cases that are done in ``out_dir`` with the same weights and settings.
        column: column of CSV lists, and key of JSON lists, that names the images.
        part: segment only the cases of this part, into its own folder in ``out_dir``.
        segmenter: where cases are segmented; default is this process.
        rtstruct: write the contours of the masks of DICOM series as RT Structure Sets.

    Returns:
        the outcome of every case, in the order of the inputs.

    Raises:
        FileNotFoundError: an input does not exist, or a folder contains no image.
        FileExistsError: the folder contains results, and neither ``overwrite`` nor ``resume`` is on.
        FolderInUseError: another process writes to the folder.
        DiskFullError: the disk is full; the case in work is removed.
        ConnectionError: the cluster went away.
        ValueError: inputs are of another task or would be replaced, or the settings differ from those to resume.
        Stopped: a signal arrived before the last case.
    """
    require_one_process("Prediction")
    extras = Extras(pictures, rtstruct)
    if rtstruct and not predictor.reads_volumes:
        raise ValueError(
            "--rtstruct writes the contours of DICOM series, but the network segments 2D images. Leave it out."
        )
    series = predictor.options.series if isinstance(predictor.options, VolumeOptions) else None
    channels = len(predictor.description.channels)
    cohort = find_inputs(inputs, predictor.reads_volumes, series, channels, out_dir, column)
    cases = [case for case in cohort if part is None or part.contains(case["case"])]
    print_hidden_names(cases)
    segmenter = segmenter or ThisProcess(predictor)
    settings = {**segmenter.settings, **asdict(extras)}
    whole_dir = Path(out_dir)
    out_dir = part.folder(whole_dir) if part else whole_dir
    if part:
        check_part(whole_dir, part)
    with folder_lock(out_dir), graceful_stop() as stop:
        check_prediction_dir(out_dir, overwrite, resume)
        if part:
            check_part(whole_dir, part)  # again: another process may have started meanwhile
            require_settings_of_other_parts(whole_dir, part, settings)
        earlier = _earlier_files(out_dir, cases) if overwrite or resume else {}
        described = describe_part(part, cohort) if part else None
        record = CohortRecord(out_dir, settings, resume, described, segmenter.versions)
        left = [case for case in cases if not record.is_done(case)]
        for path in (path for case in left for path in earlier.get(case["case"], ())):
            path.unlink()
        if resume:
            logger.info(f"{len(cases) - len(left)} of {len(cases)} images are done")
        names = [case["case"] for case in cases]
        pending = {case["case"] for case in left}
        try:
            with Progress(len(left), "predicting", "image", logger) as progress:
                for outcome in segmenter.outcomes(left, out_dir, extras, lambda: stop.requested):
                    record.add(outcome)
                    pending.remove(outcome.case)
                    _report(outcome)
                    progress.step()
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
    result = CohortResult(out_dir, [record.outcomes[name] for name in names], len(cases) - len(left))
    implausible = [outcome.case for outcome in result.outcomes if outcome.implausible]
    if implausible:
        logger.warning(
            f"Implausible masks: {len(implausible)} of {len(cases)} ({', '.join(implausible[:5])}"
            f"{', …' if len(implausible) > 5 else ''}). Look at their pictures; {out_dir / FINDINGS} lists the reasons."
        )
    return result


def predict_case(case: Mapping[str, Any], out_dir: Path, predictor: Predictor, extras: Extras) -> CaseRecord:
    """Segment a case and write its files; an error becomes its outcome.

    Args:
        case: one of `find_inputs`.
        out_dir: output folder.
        predictor: network and preprocessing.
        extras: which files to write beside the mask.

    Raises:
        DiskFullError: the disk is full.
    """
    started = time.perf_counter()
    state = image_state(case)
    try:
        prediction = predictor.predict(case["image"], case["case"])
        files = write_prediction(prediction, out_dir, extras)
    except DiskFullError:
        raise
    except Exception as error:
        fault = root_cause(error)
        logger.debug("traceback:", exc_info=True)
        return failure(
            case, _reason(fault, image_paths(case)[0]), fault.findings if isinstance(fault, DataError) else ()
        )
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


def failure(case: Mapping[str, Any], reason: str, findings: Sequence[Finding] = ()) -> CaseRecord:
    """Outcome of a case that failed."""
    return CaseRecord(
        case["case"], case["shown"], ERROR, image_state=image_state(case), findings=tuple(findings), reason=reason
    )


def _report(outcome: CaseRecord) -> None:
    if outcome.reason:
        named = outcome.reason.startswith(outcome.image)
        logger.error(outcome.reason if named else f"{outcome.image}: {outcome.reason}")


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
