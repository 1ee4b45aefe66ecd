"""The commands that segment images, in one process or many."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from i2net_bundle.cli.answers import Answer
from i2net_bundle.cli.options import (
    add_column_option,
    add_histology_options,
    add_series_option,
    add_volume_options,
    count,
)
from i2net_bundle.io.counted import counted
from i2net_bundle.tasks import TASKS

if TYPE_CHECKING:
    from i2net_bundle.prediction.cohort_result import CohortResult

_PREDICT = """\
Segment images, or folders of images: volumes (NIfTI, NRRD, MHA, folders of a DICOM series) or histology (PNG, BMP,
TIFF, JPEG). An INPUT may also be a list of images (.txt, .csv, .json) or a pattern, such as 'scans/*/ct.nii.gz'. Task,
classes, channels, sizes and network come from the record of the weights.

Each mask has its image's grid and format. Beside the masks are statistics.json and .csv, pictures, outlines for QuPath
(.geojson, histology only) and prediction.json, the record of weights, settings, versions and the status of each image:
ok, warning or failed. Warnings include predicted organs with implausible volumes or positions; data_findings.csv lists
them. failed.csv lists images that could not be used; the others are segmented. The exit status is 1 if some images
failed and 3 if all did.

SIGTERM and Ctrl-C stop after the current image, with exit status 143 and 130. --continue segments the images that are
left. --page adds one HTML page with a viewer of all images and masks, see `i2net view`."""

_MERGE = """\
Merge the parts that `i2net predict --part K/N` wrote into DIR: masks, tables and record are then those of one process.

All parts must be complete, and made with the same inputs, weights and options. The files are renamed, not copied. The
exit status is that of `i2net predict`."""


def add_commands(commands: Any) -> None:
    """Add ``predict`` and ``merge`` to the subparsers of the command line."""
    predict = commands.add_parser(
        "predict",
        help="segment images",
        description=_PREDICT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="images, folders of images or of a DICOM series, lists, patterns"
    )
    add_column_option(predict)
    predict.add_argument("-o", "--out", required=True, metavar="DIR", help="output folder")
    results = predict.add_mutually_exclusive_group()
    results.add_argument("--overwrite", action="store_true", help="replace earlier results of the same images")
    results.add_argument(
        "--continue",
        dest="resume",
        action="store_true",
        help="skip the images that are done in DIR with the same weights and options",
    )
    _add_resources(predict)
    predict.add_argument(
        "--task", choices=list(TASKS), help="task of weights without settings.json beside them (default ct)"
    )
    predict.add_argument("--bundle", metavar="DIR", help="packaged bundle whose configuration is used")
    predict.add_argument(
        "--overlay",
        metavar="FILE",
        action="append",
        default=[],
        help="configuration that was used for training, for networks outside MONAI and this bundle",
    )
    predict.add_argument(
        "--labels", metavar="TABLE", help="label table with colours, codes and volumes: built-in, or a JSON file"
    )
    predict.add_argument(
        "--weights", nargs="+", metavar="FILE", help="weights; several are averaged (default models/model.pt)"
    )
    predict.add_argument(
        "--flips", action="store_true", help="average over the image's flips, for histology; takes four times as long"
    )
    predict.add_argument("--uncertainty", action="store_true", help="write entropy, and variance over flips or weights")
    predict.add_argument("--probabilities", action="store_true", help="write the probability of every class")
    predict.add_argument(
        "--rtstruct", action="store_true", help="write the contours of each DICOM series as an RT Structure Set"
    )
    predict.add_argument("--no-pictures", action="store_true", help="write no pictures")
    predict.add_argument("--page", action="store_true", help="also write DIR/view.html, as `i2net view` does")
    predict.add_argument("--device", help="device, such as cpu or cuda:1 (default: a GPU if there is one)")
    add_series_option(predict)
    predict.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="ID=VALUE",
        help="change an id of the configuration, such as image_size=[512,512]; may be repeated",
    )
    predict.add_argument("--resample", action="store_true", help="resize histology to the scale of the training images")
    add_volume_options(predict, labels=False)
    add_histology_options(predict, labels=False)
    predict.set_defaults(run=_predict)

    merge = commands.add_parser(
        "merge",
        help="merge the parts of a prediction",
        description=_MERGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    merge.add_argument("out", metavar="DIR", help="output folder of the parts")
    merge.set_defaults(run=_merge)


def _add_resources(predict: argparse.ArgumentParser) -> None:
    group = predict.add_argument_group("many images, and several processes or machines (docs/clusters.md)")
    group.add_argument(
        "--part", metavar="K/N", help="only part K of N, from 1, into its own folder in DIR; then see i2net merge"
    )
    group.add_argument("--workers", type=count, metavar="N", help="Dask workers on this machine, one per GPU")
    group.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers segment the images")
    group.add_argument(
        "--tries", type=count, default=3, metavar="N", help="give up an image after N workers died of it (default 3)"
    )
    group.add_argument("--threads", type=count, metavar="N", help="threads of the process, or of each worker")
    group.add_argument(
        "--memory", metavar="SIZE", help="memory of the process, or of each worker on this machine, such as 8GB"
    )


def _predict(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.prediction.cohort import predict_files
    from i2net_bundle.prediction.output_folders import check_prediction_dir
    from i2net_bundle.prediction.parts import Part
    from i2net_bundle.prediction.predictor import Predictor
    from i2net_bundle.workflow.limits import limit_process, parse_bytes

    part = Part.parse(arguments.part) if arguments.part else None
    check_prediction_dir(
        part.folder(Path(arguments.out)) if part else arguments.out, arguments.overwrite, arguments.resume
    )
    options = {
        "weights": arguments.weights,
        "task": arguments.task,
        "bundle": arguments.bundle,
        "overlays": arguments.overlay,
        "label_table": arguments.labels,
        "overrides": dict(_setting(text) for text in arguments.set),
        "reading": _reading(arguments),
        "flips": arguments.flips,
        "uncertainty": arguments.uncertainty,
        "probabilities": arguments.probabilities,
    }
    memory = parse_bytes(arguments.memory) if arguments.memory else None
    distributed = _is_distributed(arguments)
    limit_process(arguments.threads, None if distributed else memory)
    predictor = Predictor(**options, device="cpu" if distributed else arguments.device)

    def run(segmenter: Any = None) -> Answer:
        result = predict_files(
            arguments.inputs,
            arguments.out,
            predictor,
            pictures=not arguments.no_pictures,
            overwrite=arguments.overwrite,
            resume=arguments.resume,
            column=arguments.column,
            part=part,
            segmenter=segmenter,
            rtstruct=arguments.rtstruct,
        )
        return _answer(result, _write_page(arguments, result.out_dir) if arguments.page else None)

    if not distributed:
        return run()
    from i2net_bundle.prediction.on_workers import Setup, workers
    from i2net_bundle.workflow.dask_engine import Cluster

    cluster = Cluster(arguments.scheduler, arguments.workers or 1, memory, arguments.tries)
    setup = Setup({**options, "device": arguments.device}, os.getcwd(), arguments.threads, memory)
    with workers(cluster, setup) as segmenter:
        return run(segmenter)


def _is_distributed(arguments: argparse.Namespace) -> bool:
    """Whether workers segment the images.

    Raises:
        ValueError: the options contradict each other.
    """
    if arguments.scheduler and (arguments.workers or arguments.memory):
        raise ValueError(
            "--workers and --memory are for workers on this machine. With --scheduler, give them to `dask worker`."
        )
    return bool(arguments.scheduler or arguments.workers)


def _merge(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.prediction.merging import merge_parts

    return _answer(merge_parts(arguments.out))


def _answer(result: CohortResult, page: Path | None = None) -> Answer:
    from i2net_bundle.prediction.cohort_record import FAILED

    lines = [str(path) for path in (result.out_dir, page) if path is not None]
    if result.failed:
        lines.append(f"Failed: {counted(len(result.failed), 'image')}. {result.out_dir}/{FAILED} lists the reasons.")
    content = result.as_json() | ({} if page is None else {"page": str(page)})
    return Answer("\n".join(lines), content, result.exit_status)


def _write_page(arguments: argparse.Namespace, folder: Path) -> Path:
    from i2net_bundle.reports.viewer.view_page import write_view

    return write_view(folder, inputs=arguments.inputs, overwrite=True, series=arguments.series, column=arguments.column)


def _setting(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"--set takes ID=VALUE, got '{text}'.")
    return name, yaml.safe_load(value)


def _reading(arguments: argparse.Namespace) -> dict[str, Any]:
    """Reading options that differ from their defaults; options of the other kind of image are refused."""
    from i2net_bundle.io.options import HistologyOptions, VolumeOptions
    from i2net_bundle.prediction.trained_network import task_of_weights
    from i2net_bundle.workflow.shipped_weights import default_weights

    weights = arguments.weights[0] if arguments.weights else default_weights(arguments.task, arguments.bundle)
    task = TASKS[task_of_weights(weights, arguments.task)]
    kinds = (VolumeOptions, HistologyOptions) if task.volumes else (HistologyOptions, VolumeOptions)
    chosen, foreign = (
        {
            field.name: getattr(arguments, field.name)
            for field in dataclasses.fields(kind)
            if getattr(arguments, field.name, field.default) != field.default
        }
        for kind in kinds
    )
    if foreign:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in foreign)
        other = "histology" if task.volumes else "volumes"
        raise ValueError(f"{names}: only for {other}, but the task is {task.name}. Leave it out, or set --task.")
    return chosen
