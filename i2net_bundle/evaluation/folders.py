"""Score a folder of predicted masks against a folder of labels, with the code of the evaluation workflow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from tqdm import tqdm

from i2net_bundle.checks.histology import load_mask, pair_findings
from i2net_bundle.checks.scans import load_volume_label
from i2net_bundle.data.datalist import DATALIST, read_datalist
from i2net_bundle.data.description import describe_datalist, options_of
from i2net_bundle.evaluation.case_scores import CaseScores, object_ids, score_case, without_ignored
from i2net_bundle.evaluation.convention_scores import CaseMeasures, measure_case, score_conventions
from i2net_bundle.evaluation.convention_tables import write_conventions
from i2net_bundle.evaluation.mask_pairs import case_key, instances_beside, masks_of, matching_key, paired
from i2net_bundle.evaluation.on_workers import score_on_workers
from i2net_bundle.evaluation.scores import killed_worker, scoring_pool
from i2net_bundle.evaluation.summary import summarize, write_tables
from i2net_bundle.io.counted import counted
from i2net_bundle.io.findings import DataError, Finding, enforce, error, errors
from i2net_bundle.io.formats import is_volume
from i2net_bundle.io.geometry import describe_affine, has_geometry, largest_corner_distance, same_grid
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.io.writing import write_csv
from i2net_bundle.tasks import TASKS
from i2net_bundle.workflow.dask_engine import LostWorkersError
from i2net_bundle.workflow.folder_lock import folder_lock
from i2net_bundle.workflow.processes import require_one_process
from i2net_bundle.workflow.stopping import Stop, graceful_stop

logger = logging.getLogger("i2net.scores")

FAILED = "failed.csv"
_Scored = tuple[CaseScores, CaseMeasures | None]


def evaluate_folders(
    pred_dir: str | Path,
    label_dir: str | Path,
    out_dir: str | Path,
    *,
    label_table: str | Path | None = None,
    datalist: str = DATALIST,
    split: str = "test",
    ct: VolumeOptions | None = None,
    histology: HistologyOptions | None = None,
    allow_missing: bool = False,
    num_workers: int = 0,
    conventions: bool = False,
    scheduler: str | None = None,
) -> dict[str, Any]:
    """Score every predicted mask against its label, and write ``metrics.csv`` and ``summary.json``.

    Files are paired by name, ignoring endings such as ``_mask`` and BTCV's prefixes ``img`` and ``label``:
    ``img0001_mask.nii.gz`` with ``label0001.nii.gz``, ``testA_1_mask.png`` with ``testA_1_anno.bmp``. If a mask has
    instances beside it, ``testA_1_instances.png``, these are its objects. The scores are written when all pairs are
    done; SIGTERM and SIGINT stop after the current pair and write nothing.

    Args:
        pred_dir: folder of predicted masks.
        label_dir: folder of a data list, or of label files.
        out_dir: output folder.
        label_table: name of a built-in label table, or path of a table file, for labels that no data list names;
            default is "synapse" for volumes and "glas" for 2D images.
        datalist: name of the data list, if the folder has one.
        split: list of cases in the data list.
        ct: how volumes are read.
        histology: how 2D images are read.
        allow_missing: skip labels without a prediction, and predictions without a label.
        num_workers: processes that score; 0 scores in this process.
        conventions: also score under every convention of `CONVENTIONS`, and write
            ``conventions.csv`` and ``conventions.md``.
        scheduler: address of a Dask scheduler whose workers score, see `score_on_workers`.

    Returns:
        content of ``summary.json``. Pairs that cannot be scored are skipped and listed in ``failed.csv``.

    Raises:
        FileNotFoundError: a folder contains no masks.
        FolderInUseError: another process writes to the output folder.
        DataError: files without a partner are not to be skipped, or no pair can be scored.
        Stopped: a signal arrived before the last pair.
        ConnectionError: the scheduler cannot be reached or went away, or has no workers.
        WorkerError: a worker has other versions of packages.
        ValueError: this is one of several processes, or processes here and on a cluster are asked for.
    """
    require_one_process()
    if scheduler and num_workers:
        raise ValueError("--workers is for processes on this machine. With --scheduler, give it to `dask worker`.")
    pred_dir, label_dir, out_dir = Path(pred_dir), Path(label_dir), Path(out_dir)
    ct, histology = ct or VolumeOptions(), histology or HistologyOptions()
    found = read_datalist(label_dir / datalist) if (label_dir / datalist).is_file() else None
    if found is not None:
        labels = {case_key(case["case"]): case for case in found.cases(split)}
    else:
        labels = {key: {"case": key, "label": str(path)} for key, path in masks_of(label_dir).items()}
    predictions = {matching_key(key, labels): path for key, path in masks_of(pred_dir, of_predictions=True).items()}
    pairs = paired(predictions, labels, pred_dir, label_dir, allow_missing)
    volumes = is_volume(pairs[0][0])
    description = describe_datalist(found, label_table or TASKS["ct" if volumes else "histology"].label_table)
    options = options_of(description, ct, histology)[0 if volumes else 1]
    if isinstance(options, HistologyOptions) and found is not None:
        options = replace(options, um_per_px=options.um_per_px or found.um_per_px)
    names = description.class_names
    with folder_lock(out_dir), graceful_stop() as stop:
        outcomes = partial(score_on_workers, scheduler) if scheduler else partial(_score_here, num_workers)
        scored, findings = _score(pairs, options, len(names), conventions, outcomes, stop)
        failed = [[finding.file, str(finding)] for finding in errors(findings)]
        write_csv(out_dir / FAILED, ["file", "reason"], failed)
        if not scored:
            raise DataError(errors(findings))
        cases = [scores for scores, _ in scored]
        measures = [measures for _, measures in scored if measures is not None]
        audit = score_conventions(measures, len(names), partial(_with_progress, stop)) if conventions else None
        summary = summarize(cases, names, data_set=description.name)
        write_tables(out_dir, cases, names, summary)
        write_conventions(out_dir, audit)
    return summary


def _score(
    pairs: Sequence[tuple[Path, Mapping[str, Any]]],
    options: VolumeOptions | HistologyOptions,
    num_classes: int,
    conventions: bool,
    outcomes: Callable[..., Iterator[tuple[int, Any]]],
    stop: Stop,
) -> tuple[list[_Scored], list[Finding]]:
    """Score the pairs; return the scores, and the faults of pairs without scores, in the order of the pairs."""
    jobs = [(pred, case, options, num_classes, conventions) for pred, case in pairs]
    results: dict[int, _Scored | list[Finding]] = {}
    for index, result in tqdm(outcomes(_score_files, jobs, lambda: stop.requested), **_bar(len(jobs), "case")):
        if isinstance(result, LostWorkersError):
            problem, _, remedy = str(result).partition(". ")
            result = [error("lost_workers", pairs[index][0], problem, remedy)]
        elif isinstance(result, BaseException):
            raise result
        results[index] = result
    if len(results) < len(jobs):
        stop.exit_if_requested(_stopped(len(results), len(jobs), "case"))
    in_order = [results[index] for index in sorted(results)]
    done = [result for result in in_order if not isinstance(result, list)]
    return done, [finding for result in in_order if isinstance(result, list) for finding in result]


def _score_here(
    num_workers: int, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], stopping: Callable[[], bool]
) -> Iterator[tuple[int, Any]]:
    """Score every case in this process, or in processes on this machine; see `score_on_workers`."""
    with scoring_pool(num_workers) if num_workers else nullcontext() as pool:
        scored = pool.map(function, *zip(*jobs, strict=True)) if pool else (function(*job) for job in jobs)
        done = 0
        try:
            for done, result in enumerate(scored, start=1):
                yield done - 1, result
                if stopping() and done < len(jobs):
                    break
        except BrokenProcessPool as cause:
            unfinished = [str(case["case"]) for _, case, *_ in jobs[done:]]
            raise killed_worker(unfinished[:num_workers]) from cause
        if pool:
            pool.shutdown(wait=True, cancel_futures=True)


def _with_progress(stop: Stop, batches: Sequence[Any]) -> Iterator[Any]:
    """Yield the batches under a progress bar; a requested stop ends the process before the next one."""
    for done, batch in enumerate(tqdm(batches, **_bar(len(batches), "batch"))):
        stop.exit_if_requested(_stopped(done, len(batches), "batch"))
        yield batch


def _bar(total: int, unit: str) -> dict[str, Any]:
    return {"total": total, "desc": "scoring", "unit": unit, "disable": None}


def _stopped(done: int, total: int, unit: str) -> str:
    number = counted(total, unit, "batches" if unit == "batch" else None)
    return f"{done} of {number} are scored, and no scores are written. Run the same command again."


@dataclass(frozen=True)
class _LabelMaps:
    """Class indices of a prediction and its label, the size of a voxel and its unit, and the ids of objects, if any.

    ``ids`` are those of the label, ``pred_ids`` those of the prediction.
    """

    y_pred: np.ndarray
    y: np.ndarray
    spacing: list[float]
    unit: str
    ids: np.ndarray | None = None
    pred_ids: np.ndarray | None = None


def _score_files(
    pred_path: Path,
    case: Mapping[str, Any],
    options: VolumeOptions | HistologyOptions,
    num_classes: int,
    conventions: bool,
) -> _Scored | list[Finding]:
    try:
        if isinstance(options, VolumeOptions):
            maps = _read_volumes(pred_path, case, options)
        else:
            maps = _read_images(pred_path, case, options, num_classes)
        scores = score_case(
            maps.y_pred,
            maps.y,
            num_classes,
            maps.spacing,
            maps.unit,
            case,
            maps.ids,
            ignore_index=options.ignore_id,
            pred_ids=maps.pred_ids,
        )
    except DataError as fault:
        return fault.findings
    return scores, _measures(maps, options, num_classes) if conventions else None


def _measures(maps: _LabelMaps, options: VolumeOptions | HistologyOptions, num_classes: int) -> CaseMeasures:
    spacing, unit = (maps.spacing, maps.unit) if maps.unit == "mm" else (None, None)
    if isinstance(options, HistologyOptions) and options.um_per_px is not None:
        spacing, unit = [options.um_per_px] * 2, "µm"
    return measure_case(*without_ignored(maps.y_pred, maps.y, options.ignore_id), num_classes, spacing, unit)


def _read_volumes(pred_path: Path, case: Mapping[str, Any], options: VolumeOptions) -> _LabelMaps:
    pred, found = load_volume_label(pred_path, replace(options, ignore_id=None))
    label, found_label = load_volume_label(case["label"], options)
    enforce(found + found_label)
    remedy = "Resample the prediction to the grid of its image."
    if pred.shape != label.shape:
        problem = f"has shape {pred.shape}, but its label {case['label']} has {label.shape}"
        raise DataError([error("shape", pred_path, problem, remedy)])
    if options.geometry is None and not same_grid(pred.affine, label.affine, label.shape):
        apart = largest_corner_distance(pred.affine, label.affine, label.shape)
        problem = (
            f"is {apart:.1f} mm away from its label {case['label']}: the prediction is {describe_affine(pred.affine)}; "
            f"the label is {describe_affine(label.affine)}"
        )
        raise DataError([error("geometry", pred_path, problem, remedy)])
    unit = "mm" if has_geometry(label) else "voxel"
    y_pred, y = (np.asarray(image.dataobj) for image in (pred, label))
    return _LabelMaps(y_pred, y, voxel_sizes(label.affine).tolist(), unit)


def _read_images(pred_path: Path, case: Mapping[str, Any], options: HistologyOptions, num_classes: int) -> _LabelMaps:
    of_pred = "binary" if num_classes == 2 else "classes"  # as `write_mask` writes them
    pred, found = load_mask(pred_path, replace(options, label_values=of_pred, ignore_id=None))
    label, found_label = load_mask(case["label"], options)
    sizes = [array.shape[::-1] for array in (label, pred)]
    enforce(found + found_label + pair_findings(case["label"], sizes[0], pred_path, sizes[1]))
    ids = object_ids(case["label"], options)
    y_pred, y = pred.astype(np.uint8), (label if options.has_class_ids else label > 0).astype(np.uint8)
    return _LabelMaps(y_pred, y, [1.0, 1.0], "pixel", ids, _read_instances(pred_path, sizes[1], options))


def _read_instances(pred_path: Path, size: tuple[int, int], options: HistologyOptions) -> np.ndarray | None:
    path = instances_beside(pred_path)
    if path is None or not path.is_file():
        return None
    ids, found = load_mask(path, replace(options, label_values="instances", ignore_id=None))
    enforce(found + pair_findings(pred_path, size, path, ids.shape[::-1]))
    return ids
